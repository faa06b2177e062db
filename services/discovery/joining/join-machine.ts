// SPDX-License-Identifier: Apache-2.0
/**
 * How a machine with a preseed becomes a member: it finds others, lets them find it, and either is let in by a member or takes part in
 * choosing the founder. Ends once the membership file is written; admitting others is then the business of discovery's core part.
 */
import { randomBytes } from "node:crypto";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { parseHostPort } from "@debvisor/shared/join/addresses";
import type { JoinChannel } from "@debvisor/shared/join/channel";
import { dialJoin } from "@debvisor/shared/join/dial";
import { startJoinListener } from "@debvisor/shared/join/listener";
import type { JoinAnswer, JoinMessage } from "@debvisor/shared/join/messages";
import type { Preseed } from "@debvisor/shared/join/preseed";
import type { Peer } from "@debvisor/shared/join/session";
import type { Logger } from "@debvisor/shared/log";
import type { Membership } from "@debvisor/shared/node-files";
import { clockFault } from "../model/agreed-time.ts";
import { type Effects, FoundingMessage, proposalWaitMs, quorumOf } from "../model/founding.ts";
import { Contacts } from "./contacts.ts";
import { joinFacts, joinRequest } from "./join-request.ts";
import type { Machine } from "./machine.ts";
import { type FreshKeys, found, freshKeys, takeUp } from "./take-up.ts";
import { openVoter, type Voter } from "./voter.ts";
import { announceWaiting } from "./waiting.ts";

/** How often places are dialled and members asked, in milliseconds. */
const ROUND_MS = 50;
/** How long a machine looks for members before it founds: a founder whose disk was wiped must find its cluster. */
const LOOK_AROUND_MS = 1_000;
const ASK_TIMEOUT_MS = 5_000;
/** A refusal may be mended by an operator, so the machine asks again. */
const REFUSED_RETRY_MS = 5_000;
/** What a machine answers that belongs to no cluster itself, and how soon it is asked again, in milliseconds. */
const STRANGER = "UNAVAILABLE";
const STRANGER_RETRY_MS = 200;

/** What joining needs. */
export interface JoinOptions {
  readonly machine: Machine;
  readonly preseed: Preseed;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
  /** What happens, for a person who watches. */
  readonly onProgress?: (what: string) => void;
}

/** Joins or founds; returns the membership that was written. @throws when the signal aborts, DATA_FOLDER_CORRUPT */
export async function joinMachine(options: JoinOptions): Promise<Membership> {
  const joining = new Joining(options, await freshKeys());
  try {
    return await joining.run();
  } finally {
    await joining.stop();
  }
}

class Joining {
  readonly #options: JoinOptions;
  readonly #keys: FreshKeys;
  readonly #clock: Clock;
  readonly #secret: Buffer;
  readonly #contacts: Contacts;
  readonly #voter: Voter | undefined;
  readonly #startedAt: number;
  readonly #done = Promise.withResolvers<Membership>();
  readonly #askAt = new Map<JoinChannel, number>();
  readonly #stops: (() => Promise<void>)[] = [];
  readonly #stopping = new AbortController();
  /** Machines that belong to no cluster themselves, by their own word. */
  readonly #strangers = new Set<string>();
  /** Whether a member has answered. */
  #metCluster = false;
  /** Machines that have proved themselves. */
  readonly #met = new Set<string>();
  #attempt = 0;
  #proposeAt: number | undefined;
  #takingUp = false;
  #said = "";

  constructor(options: JoinOptions, keys: FreshKeys) {
    const { machine, preseed } = options;
    this.#options = options;
    this.#keys = keys;
    this.#clock = options.clock ?? systemClock;
    this.#secret = Buffer.from(preseed.secret, "base64");
    this.#startedAt = this.#clock.monotonic();
    const chooses = machine.role === "server" && preseed.founder === undefined && preseed.servers > 1;
    this.#voter = chooses ? openVoter(machine, preseed.cluster, preseed.servers) : undefined;
    this.#contacts = new Contacts({
      self: machine.id,
      dial: (host, port) => this.#dial(host, port),
      onChannel: (channel) => this.#onChannel(channel),
      log: options.log,
      clock: this.#clock,
    });
    for (const text of preseed.addresses) {
      const place = parseHostPort(text, preseed.ports.join);
      if (place) this.#contacts.add(place.host, place.port, true);
    }
  }

  async run(): Promise<Membership> {
    const { machine, preseed, signal, log } = this.#options;
    const abort = () => this.#done.reject(new DvError("UNAVAILABLE", "Joining was ended."));
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    const listener = await startJoinListener({
      host: machine.endpoints.host,
      port: machine.endpoints.join,
      identityPem: machine.identityPem,
      cluster: preseed.cluster,
      log,
      clock: this.#clock,
      secret: () => this.#secret,
      code: () => Promise.resolve(undefined),
      codeUsed: () => Promise.resolve(false),
      words: () => Promise.resolve(false),
      isMember: () => false,
      handle: (peer, message) => Promise.resolve(this.#answer(peer, message)),
    });
    this.#stops.push(() => listener.stop());
    const waiting = await announceWaiting(machine, preseed, (host, port) => this.#contacts.add(host, port), log);
    this.#stops.push(() => waiting.stop());
    void this.#rounds();
    return await this.#done.promise;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#contacts.close();
    this.#secret.fill(0);
    await Promise.all(this.#stops.splice(0).map((stop) => stop()));
  }

  async #rounds(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#contacts.dialDue();
      for (const channel of this.#contacts.channels()) this.#askToJoin(channel);
      this.#foundWhenItIsTime();
      await this.#clock.sleep(ROUND_MS, this.#stopping.signal);
    }
  }

  #dial(host: string, port: number): Promise<JoinChannel> {
    const { machine, preseed } = this.#options;
    return dialJoin({
      ...{ host, port, identityPem: machine.identityPem, cluster: preseed.cluster },
      proof: { kind: "secret", secret: this.#secret },
      facts: joinFacts(machine),
      signal: this.#stopping.signal,
    });
  }

  #onChannel({ peer }: JoinChannel): void {
    if (this.#met.has(peer.id)) return;
    this.#met.add(peer.id);
    this.#say(`found ${peer.id}; each has proved itself to the other`);
  }

  #askToJoin(channel: JoinChannel): void {
    const now = this.#clock.monotonic();
    if (this.#takingUp || (this.#askAt.get(channel) ?? 0) > now) return;
    this.#askAt.set(channel, Number.POSITIVE_INFINITY);
    const request = joinRequest(this.#options.machine, this.#keys);
    channel.ask(request, ASK_TIMEOUT_MS).then(
      (answer) => this.#onAnswer(channel, answer),
      () => this.#drop(channel),
    );
  }

  #drop(channel: JoinChannel): void {
    this.#askAt.delete(channel);
    this.#contacts.drop(channel);
  }

  #onAnswer(channel: JoinChannel, answer: JoinAnswer): void {
    const now = this.#clock.monotonic();
    if (answer.kind === "admitted") {
      this.#takeUp(channel, answer).catch((error: unknown) => this.#done.reject(error));
      return;
    }
    if (answer.kind === "refused" && answer.code === STRANGER) {
      this.#strangers.add(channel.peer.id);
      this.#askAt.set(channel, now + STRANGER_RETRY_MS);
      return;
    }
    this.#metCluster = true;
    if (answer.kind === "wait") this.#askAt.set(channel, now + answer.retryMs);
    else this.#askAt.set(channel, now + REFUSED_RETRY_MS);
    if (answer.kind === "refused") this.#say(`${channel.peer.id} refuses: ${answer.message} (${answer.code})`, "error");
  }

  async #takeUp(channel: JoinChannel, { admission }: JoinAnswer & { kind: "admitted" }): Promise<void> {
    if (this.#takingUp || this.#stopping.signal.aborted) return;
    const { machine } = this.#options;
    const formed = this.#voter?.elector.formed;
    const { formation } = admission.membership;
    if (formed && formed.founder.formation !== formation) {
      this.#say(`${channel.peer.id} belongs to formation ${formation}, not ${formed.founder.formation}`, "error");
      this.#askAt.set(channel, this.#clock.monotonic() + REFUSED_RETRY_MS);
      return;
    }
    this.#takingUp = true;
    await takeUp(machine, this.#keys, admission);
    this.#say(`admitted by ${channel.peer.id}`);
    const fault = clockFault(this.#clock.now(), admission.timeMs);
    if (fault !== undefined) this.#say(fault, "error");
    this.#done.resolve(admission.membership);
  }

  /** What a machine that belongs to no cluster yet answers to one that has proved itself. */
  #answer(peer: Peer, message: JoinMessage): JoinAnswer {
    if (message.kind === "vote" && this.#voter)
      return { kind: "vote", message: this.#receive(peer.id, message.message) };
    if (message.kind === "vote")
      return { kind: "refused", code: "INVALID_ARGUMENT", message: "This machine has no vote." };
    if (message.kind === "formation") return { kind: "formation", formation: null };
    return { kind: "refused", code: STRANGER, message: "This machine does not belong to a cluster itself yet." };
  }

  /** Takes a message of the choice; what is to be broadcast goes out beside the answer. */
  #receive(from: string, message: unknown): FoundingMessage | null {
    const parsed = FoundingMessage.safeParse(message);
    return parsed.success && this.#voter ? this.#act(this.#voter.elector.receive(from, parsed.data)) : null;
  }

  #act(effects: Effects): FoundingMessage | null {
    this.#voter?.keep(effects);
    if (effects.split)
      this.#say(`another formation of this cluster exists: ${effects.split.founder.formation}`, "error");
    if (effects.tooMany) this.#say(`more servers are preseeded than declared: ${effects.tooMany}`, "error");
    if (effects.broadcast) this.#broadcast(effects.broadcast);
    return effects.reply ?? null;
  }

  #broadcast(message: FoundingMessage): void {
    const { machine } = this.#options;
    // To itself like to the others; what it answers itself counts like their answers.
    queueMicrotask(() => {
      const own = this.#receive(machine.id, message);
      if (own) this.#receive(machine.id, own);
    });
    for (const channel of this.#contacts.channels()) {
      channel.ask({ kind: "vote", message }, ASK_TIMEOUT_MS).then(
        (answer) => answer.kind === "vote" && this.#receive(channel.peer.id, answer.message),
        () => this.#drop(channel),
      );
    }
  }

  #foundWhenItIsTime(): void {
    const { machine, preseed } = this.#options;
    const now = this.#clock.monotonic();
    // Who has met the cluster never founds it again, even if that does not let it in.
    if (this.#takingUp || this.#metCluster || machine.role !== "server") return;
    // With every declared server here and none of them a member, there is nobody left to look for.
    const isComplete = preseed.servers > 1 && this.#strangers.size + 1 >= preseed.servers;
    if (!isComplete && now - this.#startedAt < LOOK_AROUND_MS) return;
    if (this.#voter) {
      const { formed } = this.#voter.elector;
      if (formed?.founder.node === machine.id) this.#found(formed.founder.formation);
      else if (!formed) this.#proposeWhenItIsTime(this.#voter, now);
    } else if (preseed.founder === undefined ? preseed.single : preseed.founder === machine.name) {
      this.#found(randomBytes(16).toString("hex"));
    }
  }

  #proposeWhenItIsTime(voter: Voter, now: number): void {
    const { preseed } = this.#options;
    if (this.#contacts.channels().length + 1 < quorumOf(preseed.servers)) return;
    this.#proposeAt ??= now + proposalWaitMs(this.#attempt, Math.random());
    if (now < this.#proposeAt) return;
    this.#attempt++;
    this.#proposeAt = now + proposalWaitMs(this.#attempt, Math.random());
    this.#act(voter.elector.propose());
  }

  #found(formation: string): void {
    this.#takingUp = true;
    const { machine, preseed } = this.#options;
    const { cluster, servers, secret } = preseed;
    found(machine, { cluster, formation, servers, secret }).then(
      (membership) => {
        this.#say(`founds cluster ${cluster}`);
        this.#done.resolve(membership);
      },
      (error: unknown) => this.#done.reject(error),
    );
  }

  #say(what: string, level: "info" | "error" = "info"): void {
    if (what === this.#said) return;
    this.#said = what;
    this.#options.log[level](`join: ${what}`);
    this.#options.onProgress?.(what);
  }
}
