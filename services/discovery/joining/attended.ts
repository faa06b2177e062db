// SPDX-License-Identifier: Apache-2.0
/**
 * How a machine joins with somebody there: it shows that it waits, finds members, and proves itself to one of them by the one-time code
 * that was typed, or shows words that somebody compares. A code is tried at one machine only, because every try is a guess for whoever
 * answers and the cluster counts three. Words are of one session: when it ends, others have to be compared.
 */
import { type ErrorCode, errorEntry } from "@debvisor/proto-events/errors";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { type HostPort, hostPort } from "@debvisor/shared/join/addresses";
import type { JoinChannel } from "@debvisor/shared/join/channel";
import { dialJoin } from "@debvisor/shared/join/dial";
import type { JoinProof } from "@debvisor/shared/join/prove-joiner";
import type { Logger } from "@debvisor/shared/log";
import type { Membership } from "@debvisor/shared/node-files";
import { clockFault } from "../model/agreed-time.ts";
import { DialRate } from "./dial-rate.ts";
import { joinFacts, joinRequest } from "./join-request.ts";
import type { Machine } from "./machine.ts";
import { freshKeys, takeUp } from "./take-up.ts";
import { announceWaiting } from "./waiting.ts";

/** Pause between rounds over all places, in milliseconds. */
const ROUND_MS = 300;
/** How long others may take to show themselves once some machine has said that no code is open there. */
const OTHERS_MS = 2_000;
const ASK_MS = 10_000;
/** How often the member is asked whether it still waits while somebody compares words, in milliseconds. */
const STANDING_MS = 1_000;
/** Places that are remembered, the newest; anybody on the LAN can announce some. */
const MAX_PLACES = 64;

/** What attended joining needs. */
export interface AttendedOptions {
  readonly machine: Machine;
  /** Members to ask; without any, those that announce themselves by mDNS. */
  readonly addresses: readonly HostPort[];
  /** Interfaces for mDNS; empty: all. */
  readonly interfaces: readonly string[];
  readonly log: Logger;
  readonly clock?: Clock;
  readonly signal: AbortSignal;
  /** What happens, for the person who watches. */
  readonly onProgress: (what: string) => void;
}

/** A machine that joined. */
export interface LetIn {
  readonly membership: Membership;
  readonly role: "server" | "worker";
  /** Node id of the member that let it in. */
  readonly by: string;
}

/** A machine that waits to be let in. */
export interface Attended {
  /**
   * Tries a code until a member has judged it, and joins. May be called again after a wrong one.
   * @throws JOIN_CODE_WRONG, JOIN_MODE_REFUSED when no member has a code open, JOIN_VERSION, what the member refuses with, UNAVAILABLE
   * when the signal aborts, JOIN_UNREACHABLE or TIMEOUT when a member that took the code does not answer any more
   */
  letIn(code: string): Promise<LetIn>;
  /**
   * Shows words at a member and here, and joins once they were approved at both. `compare` is given them, and the signal with which the
   * attempt ends; it says whether the member shows the same: without that, anybody who answers could let this machine into a cluster of its own.
   * @throws JOIN_WORDS_DIFFER, TIMEOUT when nobody approves, and as `letIn` does
   */
  letInByWords(compare: (words: string, ended: AbortSignal) => Promise<boolean>): Promise<LetIn>;
  stop(): Promise<void>;
}

/** Begins to wait: from now on `dvctl nodes pending` shows the machine. Where mDNS cannot be used, addresses alone must do. */
export async function waitAttended(options: AttendedOptions): Promise<Attended> {
  const { machine, addresses, interfaces, log } = options;
  const places = new Map(addresses.map((place) => [hostPort(place.host, place.port), place]));
  const onPlace = (host: string, port: number) => {
    if (addresses.length > 0 || places.has(hostPort(host, port))) return;
    const [longest] = places.keys();
    if (places.size >= MAX_PLACES && longest !== undefined) places.delete(longest);
    places.set(hostPort(host, port), { host, port });
  };
  const waiting = await announceWaiting(machine, { interfaces }, onPlace, log).catch((error: unknown) => {
    if (addresses.length === 0) throw error;
    options.onProgress(`this machine does not show itself by mDNS: ${toDvError(error).message}`);
    return undefined;
  });
  const join = async (proof: JoinProof, before: (channel: JoinChannel) => Promise<void>) => {
    const channel = await new Search(options, places, proof).run();
    try {
      await before(channel);
      return await ask(options, channel);
    } finally {
      channel.close();
    }
  };
  return {
    letIn: (code) => join({ kind: "code", code }, () => Promise.resolve()),
    letInByWords: (compare) => join({ kind: "words" }, (channel) => compared(options, channel, compare)),
    stop: async () => {
      await waiting?.stop();
    },
  };
}

/** Looks for the member that takes the proof. */
class Search {
  readonly #options: AttendedOptions;
  readonly #places: ReadonlyMap<string, HostPort>;
  readonly #proof: JoinProof;
  readonly #clock: Clock;
  readonly #rate: DialRate;
  /** What each place has answered that is final for this proof. */
  readonly #refused = new Map<string, DvError>();
  #said = "";

  constructor(options: AttendedOptions, places: ReadonlyMap<string, HostPort>, proof: JoinProof) {
    this.#options = options;
    this.#places = places;
    this.#proof = proof;
    this.#clock = options.clock ?? systemClock;
    this.#rate = new DialRate(this.#clock);
  }

  async run(): Promise<JoinChannel> {
    const { signal, addresses } = this.#options;
    let refusedSince: number | undefined;
    while (!signal.aborted) {
      const channel = await this.#round();
      if (channel) return channel;
      const now = this.#clock.monotonic();
      const [refusal] = this.#refused.values();
      if (refusal) refusedSince ??= now;
      const isLast =
        addresses.length > 0 ? this.#refused.size === this.#places.size : now - (refusedSince ?? now) > OTHERS_MS;
      if (refusal && isLast) throw refusal;
      if (this.#places.size === 0)
        this.#say("looking for members by mDNS; name one with --address where multicast does not pass");
      await this.#clock.sleep(ROUND_MS, signal);
    }
    throw new DvError("UNAVAILABLE", "No member was found that lets this machine in.");
  }

  async #round(): Promise<JoinChannel | undefined> {
    for (const [name, place] of [...this.#places]) {
      if (this.#options.signal.aborted) return undefined;
      if (this.#refused.has(name)) continue;
      if (this.#options.addresses.length === 0) await this.#rate.turn(this.#options.signal);
      const channel = await this.#try(name, place);
      if (channel) return channel;
    }
    return undefined;
  }

  async #try(name: string, { host, port }: HostPort): Promise<JoinChannel | undefined> {
    const { machine, signal } = this.#options;
    try {
      return await dialJoin({
        ...{ host, port, identityPem: machine.identityPem, signal },
        proof: this.#proof,
        facts: joinFacts(machine),
        clock: this.#clock,
      });
    } catch (error) {
      const failure = toDvError(error);
      if (failure.code === "JOIN_PROOF_FAILED" && this.#proof.kind === "code")
        throw new DvError("JOIN_CODE_WRONG", `${name} does not believe the code.`, { cause: error });
      if (failure.code !== "JOIN_UNREACHABLE") this.#refused.set(name, failure);
      this.#say(failure.message);
      return undefined;
    }
  }

  #say(what: string): void {
    if (what !== this.#said) this.#options.onProgress(what);
    this.#said = what;
  }
}

/** Returns once the words were found to be the same here. @throws JOIN_WORDS_DIFFER, what the member refuses with, JOIN_UNREACHABLE, TIMEOUT */
async function compared(
  { clock = systemClock, signal, onProgress }: AttendedOptions,
  channel: JoinChannel,
  compare: (words: string, ended: AbortSignal) => Promise<boolean>,
): Promise<void> {
  const { words, id } = channel.peer;
  if (words === undefined) throw new DvError("INTERNAL", "The session has no words.");
  onProgress(`${id} of cluster ${channel.cluster} answers`);
  const ended = new AbortController();
  try {
    const verdict = compare(words, AbortSignal.any([signal, ended.signal]));
    // The member must not take this machine for gone, and this one hears when somebody has typed other words there.
    for (let same = await soon(verdict, clock); same !== true; same = await soon(verdict, clock)) {
      if (same === false)
        throw new DvError("JOIN_WORDS_DIFFER", "The member shows other words; this machine has ended the attempt.");
      const answer = await channel.ask({ kind: "standing" }, ASK_MS);
      if (answer.kind === "refused") throw new DvError(codeOf(answer.code), answer.message);
    }
  } finally {
    ended.abort();
  }
}

async function soon(verdict: Promise<boolean>, clock: Clock): Promise<boolean | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([verdict, clock.sleep(STANDING_MS, timer.signal).then(() => undefined)]);
  } finally {
    timer.abort();
  }
}

/** Asks the member that took the proof until it has let the machine in, and writes what it hands over. */
async function ask(
  { machine, signal, onProgress, clock = systemClock }: AttendedOptions,
  channel: JoinChannel,
): Promise<LetIn> {
  const keys = await freshKeys();
  let said = "";
  while (!signal.aborted) {
    const answer = await channel.ask(joinRequest(machine, keys), ASK_MS);
    if (answer.kind === "admitted") {
      const { admission } = answer;
      await takeUp(machine, keys, admission);
      const fault = clockFault(clock.now(), admission.timeMs);
      if (fault !== undefined) onProgress(fault);
      return { membership: admission.membership, role: admission.role, by: channel.peer.id };
    }
    if (answer.kind === "refused") throw new DvError(codeOf(answer.code), answer.message);
    if (answer.kind === "wait") {
      if (answer.reason !== said) onProgress(answer.reason);
      said = answer.reason;
      await clock.sleep(answer.retryMs, signal);
    }
  }
  throw new DvError("UNAVAILABLE", "Joining was ended before the member had let this machine in.");
}

/* A newer member may know codes that this version does not. */
function codeOf(code: string): ErrorCode {
  return errorEntry(code) ? (code as ErrorCode) : "PERMISSION_DENIED";
}
