// SPDX-License-Identifier: Apache-2.0
/**
 * Looks every minute at what each server says of its replicas, has a bad one rebuilt from its peers, one server at a time, and has
 * every replica read in full once a day (RULES.md 18). Runs on the holder of lease `stream-replicas`.
 */
import { randomBytes } from "node:crypto";
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { RebuildEntry } from "@debvisor/proto-events/replicas";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { ReplicaLook } from "@debvisor/shared/bus/replica-look";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { streamHabits } from "../model/replica-habits.ts";
import { type JudgedReplica, judgeReplicas } from "../model/replica-health.ts";
import { decideRebuild, isBad, type RebuildDecision, type RebuildPlan } from "../model/replica-rebuild.ts";
import type { ReplicaControl } from "./replica-control.ts";
import type { ReplicaStore } from "./replica-store.ts";

export interface CheckDeps {
  readonly bus: Pick<Bus, "publishEvent">;
  readonly control: ReplicaControl;
  readonly store: ReplicaStore;
  readonly cluster: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly pace: CheckPace;
}

/** Times in milliseconds. */
export interface CheckPace {
  /** Between two rounds. With `confirmMs`, a bad replica is found within a minute. */
  readonly everyMs: number;
  /** Between the two looks of a round. */
  readonly confirmMs: number;
  /** Longest time for a server to throw away what it is asked to. */
  readonly askMs: number;
  /** Longest time for the peers to fill the replicas again. */
  readonly fillMs: number;
  /** After a rebuild of a replica it is not rebuilt again for so long. */
  readonly againMs: number;
}

export const CHECK_PACE: CheckPace = {
  everyMs: 50_000,
  confirmMs: 5_000,
  askMs: 300_000,
  fillMs: 1_800_000,
  againMs: 3_600_000,
};

const LOOK_MS = 1_000;
const MOST_WORDS = 100;

/** The checks of one holder of the lease. */
export class ReplicaChecker {
  readonly #deps: CheckDeps;
  /** What has been said already: `server stream verdict`. */
  readonly #said = new Set<string>();
  /** When replicas were rebuilt last, by `server stream`. */
  readonly #tried = new Map<string, number>();
  #earlier: ReplicaLook | undefined;

  constructor(deps: CheckDeps) {
    this.#deps = deps;
  }

  /** Goes round until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, pace } = this.#deps;
    while (!signal.aborted) {
      await this.round(signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn({ error: causeChain(error) }, "the replicas could not be checked");
      });
      await clock.sleep(pace.everyMs, signal);
    }
  }

  /** One round: two looks, what they say, and what is done about it. @throws BUS_UNAVAILABLE, NATS_SERVER_FAILED */
  async round(signal: AbortSignal): Promise<readonly JudgedReplica[]> {
    const { control, store, clock, pace } = this.#deps;
    const { rebuild } = store.records;
    if (rebuild) await this.#attend(rebuild, signal);
    if (signal.aborted) return [];
    const { readings } = store.records;
    const before = await control.look();
    await clock.sleep(pace.confirmMs, signal);
    if (signal.aborted) return [];
    const now = await control.look();
    const judged = judgeReplicas({ earlier: this.#earlier, before, now }, streamHabits, readings);
    this.#earlier = now;
    const decision = decideRebuild(judged, now, this.#recent());
    await this.#announce(judged, decision);
    if (decision.plan && !signal.aborted) await this.#rebuild(decision.plan, now, signal);
    return judged;
  }

  #recent(): Set<string> {
    const since = this.#deps.clock.monotonic() - this.#deps.pace.againMs;
    return new Set([...this.#tried].filter(([, at]) => at > since).map(([replica]) => replica));
  }

  /** Says what is bad, once for as long as it stays so. */
  async #announce(judged: readonly JudgedReplica[], decision: RebuildDecision): Promise<void> {
    const { bus, cluster, log } = this.#deps;
    const bad = judged.filter(({ verdict }) => isBad(verdict));
    const found = new Map(bad.map((one) => [nameOf(one), one] as const));
    for (const name of this.#said) if (!found.has(name)) this.#said.delete(name);
    await this.#remember(bad);
    for (const [name, one] of found) {
      if (this.#said.has(name)) continue;
      const { server, verdict, why, state } = one;
      const stream = verdict === "unhealthy" ? null : one.stream;
      const refused = decision.refused.find((each) => each.server === server && each.stream === one.stream);
      const waits = decision.plan?.server === server ? null : "another server is first";
      const rebuild = refused ? refused.why : waits;
      const counters = stream === null ? undefined : state;
      const { messages = null, first = null, last = null, deleted = null } = counters ?? {};
      log.error({ stream, server, verdict, why, rebuild }, "a replica of a stream is bad");
      const payload = { stream, server, verdict, why, messages, first, last, deleted, rebuild };
      await bus.publishEvent(clusterContract, "replica.failed", payload, { subject: cluster });
      this.#said.add(name);
    }
  }

  /** Keeps in the bucket what is bad, for whoever shows how the cluster is. */
  async #remember(bad: readonly JudgedReplica[]): Promise<void> {
    const { store, clock } = this.#deps;
    const words = bad.map(({ server, stream, verdict }) =>
      verdict === "unhealthy" ? `${server}: ${verdict}` : `${stream} on ${server}: ${verdict}`,
    );
    const unique = [...new Set(words)].sort().slice(0, MOST_WORDS);
    if (unique.join() !== [...store.records.bad].join())
      await store.put({ kind: "alarm", at: timestamp(clock), bad: unique });
  }

  async #rebuild({ server, streams }: RebuildPlan, look: ReplicaLook, signal: AbortSignal): Promise<void> {
    const { control, store, clock, log } = this.#deps;
    const entry: RebuildEntry = {
      kind: "rebuild",
      id: randomBytes(16).toString("hex"),
      server,
      // A server's name is its node's id and incarnation.
      node: server.replace(/-\d+$/, ""),
      streams: [...streams],
      askedAt: timestamp(clock),
      state: "asked",
      why: "",
    };
    for (const stream of streams) this.#tried.set(`${server} ${stream}`, clock.monotonic());
    await control.handOver(server, look);
    if (!(await store.begin(entry))) return;
    log.warn({ server, streams }, "bad replicas are thrown away and filled from their peers");
    await this.#attend(entry, signal);
  }

  /** Waits for a rebuild, whoever began it, until its replicas are sound. Leaves it to the next holder when aborted. */
  async #attend(entry: RebuildEntry, signal: AbortSignal): Promise<void> {
    const { bus, store, clock, cluster, log, pace } = this.#deps;
    const { id, server, streams } = entry;
    const startedAt = clock.monotonic();
    const ended = await this.#answer(entry, startedAt + pace.askMs, signal);
    if (signal.aborted) return;
    if (ended?.state === "done" && (await this.#filled(entry, clock.monotonic() + pace.fillMs, signal))) {
      await store.forgetDamage(server, streams);
      const ms = Math.max(0, clock.now() - Date.parse(entry.askedAt));
      log.info({ server, streams, ms }, "bad replicas were rebuilt from their peers");
      await bus.publishEvent(clusterContract, "replica.rebuilt", { server, streams, ms }, { subject: cluster });
      for (const name of this.#said)
        if (streams.some((stream) => name.startsWith(`${server} ${stream} `))) this.#said.delete(name);
    } else if (!signal.aborted) {
      const why = ended ? ended.why || "its peers did not fill it in time" : "its server did not answer in time";
      log.error({ server, streams, why }, "bad replicas were not rebuilt");
    }
    if (!signal.aborted) await store.end(id);
    this.#earlier = undefined;
  }

  async #answer({ id }: RebuildEntry, deadline: number, signal: AbortSignal): Promise<RebuildEntry | undefined> {
    const { store, clock } = this.#deps;
    while (!signal.aborted && clock.monotonic() < deadline) {
      const { rebuild } = store.records;
      if (rebuild?.id === id && rebuild.state !== "asked") return rebuild;
      await clock.sleep(LOOK_MS, signal);
    }
    return undefined;
  }

  async #filled({ server, streams }: RebuildEntry, deadline: number, signal: AbortSignal): Promise<boolean> {
    const { control, clock } = this.#deps;
    while (!signal.aborted && clock.monotonic() < deadline) {
      try {
        const before = await control.look();
        await clock.sleep(LOOK_MS, signal);
        const judged = judgeReplicas({ before, now: await control.look() }, streamHabits);
        const mine = judged.filter((one) => one.server === server && streams.includes(one.stream));
        if (mine.length === streams.length && mine.every(({ verdict }) => verdict === "good")) return true;
      } catch {
        // Asked again.
      }
    }
    return false;
  }
}

function nameOf({ server, stream, verdict }: JudgedReplica): string {
  return verdict === "unhealthy" ? `${server} ${verdict}` : `${server} ${stream} ${verdict}`;
}
