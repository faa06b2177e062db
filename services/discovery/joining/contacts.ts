// SPDX-License-Identifier: Apache-2.0
/**
 * Whom a machine talks to before it belongs: places that mDNS or the preseed name, each dialled with its own back-off, and the proven
 * channels to them. Where an address came from decides nothing; only the proof does (RULES.md 1). What mDNS alone has named is dialled at
 * a bounded rate, one place of an address at a time; a place that was preseeded, or where a machine has proved itself, waits for no other.
 */
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { hostPort } from "@debvisor/shared/join/addresses";
import type { JoinChannel } from "@debvisor/shared/join/channel";
import type { Logger } from "@debvisor/shared/log";
import { DialRate } from "./dial-rate.ts";

/** Most places that are remembered, and dialled at once. */
const MAX_PLACES = 64;
const MAX_DIALLING = 8;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 1_000;
/** A machine that proved itself is dialled again soon: it founds or starts its services. */
const KNOWN_WAIT_MS = 150;
/** After a proof that failed there is nothing to expect soon. */
const DISTRUST_WAIT_MS = 5_000;

interface Place {
  readonly host: string;
  readonly port: number;
  /** Preseeded places are never dropped for others. */
  readonly fixed: boolean;
  wait: number;
  dueAt: number;
  dialling: boolean;
  channel: JoinChannel | undefined;
  said: string | undefined;
  /** Whether a machine has proved itself there. */
  known: boolean;
}

/** Whether nothing but mDNS speaks for a place. */
function isHint({ fixed, known }: Place): boolean {
  return !fixed && !known;
}

/** What contacts need. */
export interface ContactOptions {
  /** Own node id: what turns out to be this machine is not dialled again. */
  readonly self: string;
  readonly dial: (host: string, port: number) => Promise<JoinChannel>;
  /** A channel stands. Called once for each. */
  readonly onChannel: (channel: JoinChannel) => void;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** The places and the channels to them. */
export class Contacts {
  readonly #options: ContactOptions;
  readonly #clock: Clock;
  readonly #rate: DialRate;
  readonly #places = new Map<string, Place>();

  constructor(options: ContactOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#rate = new DialRate(this.#clock);
  }

  /** Remembers a place; of those that mDNS named, the longest silent one goes when there are too many. */
  add(host: string, port: number, fixed = false): void {
    const key = hostPort(host, port);
    if (this.#places.has(key)) return;
    if (this.#places.size >= MAX_PLACES) {
      const idle = [...this.#places].find(([, place]) => !place.fixed && !place.channel && !place.dialling);
      if (!idle) return;
      this.#places.delete(idle[0]);
    }
    const place = {
      host,
      port,
      fixed,
      wait: FIRST_WAIT_MS,
      // The newest goes first: who has named sixty places cannot have the next one wait for all of them.
      dueAt: -this.#clock.monotonic(),
      dialling: false,
      channel: undefined,
      said: undefined,
      known: false,
    };
    this.#places.set(key, place);
  }

  /** Channels that stand, one for each machine. */
  channels(): JoinChannel[] {
    const byPeer = new Map<string, JoinChannel>();
    for (const { channel } of this.#places.values()) if (channel) byPeer.set(channel.peer.id, channel);
    return [...byPeer.values()];
  }

  /** Dials what is due. Returns at once. */
  dialDue(): void {
    const now = this.#clock.monotonic();
    const places = [...this.#places.values()];
    const dialling = places.filter((place) => place.dialling);
    const due = places.filter((place) => !place.channel && !place.dialling && place.dueAt <= now);
    // Whoever was never dialled comes first: places that do not answer must not use up the rate.
    for (const place of due.sort((a, b) => a.dueAt - b.dueAt)) {
      if (dialling.length >= MAX_DIALLING) return;
      if (isHint(place) && (dialling.some(({ host }) => host === place.host) || !this.#rate.take())) continue;
      dialling.push(place);
      void this.#dial(place);
    }
  }

  /** Forgets a channel that does not answer any more. */
  drop(channel: JoinChannel): void {
    channel.close();
    for (const place of this.#places.values()) {
      if (place.channel !== channel) continue;
      place.channel = undefined;
      place.dueAt = this.#clock.monotonic() + FIRST_WAIT_MS;
    }
  }

  /** Ends every channel. */
  close(): void {
    for (const { channel } of this.#places.values()) channel?.close();
    this.#places.clear();
  }

  async #dial(place: Place): Promise<void> {
    const { dial, onChannel, self, log } = this.#options;
    place.dialling = true;
    try {
      const channel = await dial(place.host, place.port);
      place.wait = FIRST_WAIT_MS;
      if (channel.peer.id === self || !this.#places.has(hostPort(place.host, place.port))) {
        channel.close();
        place.dueAt = Number.POSITIVE_INFINITY;
        return;
      }
      place.channel = channel;
      place.known = true;
      place.said = undefined;
      onChannel(channel);
    } catch (error) {
      const { code, message } = toDvError(error);
      const distrust = code !== "JOIN_UNREACHABLE";
      place.wait = Math.min(place.wait * 2, place.known ? KNOWN_WAIT_MS : LONGEST_WAIT_MS);
      place.dueAt = this.#clock.monotonic() + (distrust ? DISTRUST_WAIT_MS : place.wait);
      // Once for each reason: a place that stays away must not fill the log.
      if (place.said !== code) log.info({ place: hostPort(place.host, place.port), code }, `join: ${message}`);
      place.said = code;
    } finally {
      place.dialling = false;
    }
  }
}
