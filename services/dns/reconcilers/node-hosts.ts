// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the nodes of the cluster registered in DNS (REQUIREMENTS DISC-13). Every instance follows the node registry, so that it can
 * say what is missing; the holder of lease `dns-hosts` has nodes registered, changed and removed, as operations like anybody's. What
 * fails is tried again after 5 s, then after twice as long each time, up to 5 min; one operation at a time for each node.
 */
import { NodeEntry } from "@debvisor/proto-events/discovery";
import type { Bucket, Bus, Closable } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { holdLease, type Lease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import { dueTasks, type HostTask, type NodeWish, wishOf } from "../model/node-hosts.ts";
import type { HostStore } from "./host-store.ts";

/** What the reconciler needs. */
export interface NodeHostsDeps {
  readonly bus: Bus;
  readonly hosts: HostStore;
  /** Zones that have a primary. @throws BUS_UNAVAILABLE */
  readonly zones: () => Promise<readonly string[]>;
  /** Zone of names without a dot. */
  readonly zone: string;
  /** Carries a task out. Throws unless it succeeded. */
  readonly carryOut: (task: HostTask, signal: AbortSignal) => Promise<void>;
  /** Undefined when tasks can be carried out. */
  readonly waitsFor: () => string | undefined;
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const LOOK_MS = 10_000;
const SETTLED_MS = 300;
const RETRY_MS = 1_000;
/** Longest wait for a replica of the registry that lags. */
const SETTLE_MS = 3_000;
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 300_000;
/** Tasks under way at a time. */
const AT_ONCE = 8;

/** The reconciler. */
export class NodeHosts implements Closable {
  readonly #deps: NodeHostsDeps;
  readonly #nodes = new Map<string, NodeEntry>();
  readonly #stop = new AbortController();
  readonly #busy = new Map<string, Promise<void>>();
  readonly #pauses = new Map<string, { untilMs: number; nextMs: number }>();
  #bucket: Bucket<NodeEntry> | undefined;
  #watch: Closable | undefined;
  #lease: Lease | undefined;
  #seen = 0;
  #wake = Promise.withResolvers<void>();
  #run: Promise<void> = Promise.resolve();

  constructor(deps: NodeHostsDeps) {
    this.#deps = deps;
  }

  start(): void {
    const { bus, owner, clock, log } = this.#deps;
    const none = () => undefined;
    this.#lease = holdLease(bus, "dns-hosts", owner, { onHeld: none, onLost: none, clock, log });
    this.#run = this.#loop();
  }

  /** What nodes should be registered as, as far as the registry has been read here. */
  wishes(zones: readonly string[]): readonly NodeWish[] {
    return [...this.#nodes.values()].map((node) => wishOf(node, zones, this.#deps.zone));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#lease?.stop(), this.#run]);
    await this.#watch?.stop();
  }

  async #loop(): Promise<void> {
    const { clock, log } = this.#deps;
    while (!this.#stop.signal.aborted) {
      this.#wake = Promise.withResolvers();
      let pause = LOOK_MS;
      try {
        if (!this.#watch) await this.#follow();
        if (this.#lease?.held && this.#deps.waitsFor() === undefined) await this.#round();
      } catch (error) {
        const { code, message } = toDvError(error);
        log.warn({ code, error: message }, "dns: the nodes to register cannot be told yet");
        pause = RETRY_MS;
      }
      await this.#idle(pause);
    }
    await Promise.race([Promise.allSettled(this.#busy.values()), clock.sleep(RETRY_MS)]);
  }

  /** Waits for that long, or until something changes or may be tried again. */
  async #idle(ms: number): Promise<void> {
    const { clock } = this.#deps;
    const now = clock.monotonic();
    const next = [...this.#pauses.values()].map(({ untilMs }) => untilMs - now).filter((left) => left > 0);
    const over = new AbortController();
    const timer = clock.sleep(Math.min(ms, ...next), AbortSignal.any([over.signal, this.#stop.signal]));
    await Promise.race([timer, this.#wake.promise]);
    over.abort();
    // Changes come in crowds, such as at the start.
    await clock.sleep(SETTLED_MS, this.#stop.signal);
  }

  #rouse(): void {
    this.#wake.resolve();
  }

  async #follow(): Promise<void> {
    this.#bucket = await this.#deps.bus.bucket("dv_nodes", NodeEntry);
    this.#watch = await this.#bucket.watch(({ key, entry, revision }) => {
      this.#seen = Math.max(this.#seen, revision);
      if (entry && !entry.value.deleted) this.#nodes.set(key, entry.value);
      else this.#nodes.delete(key);
      this.#rouse();
    });
  }

  async #round(): Promise<void> {
    await this.#settle();
    // This server is a node itself: an empty registry is one that has not been read.
    if (this.#nodes.size === 0) return;
    const zones = await this.#deps.zones();
    const { hosts, troubles } = await this.#deps.hosts.all();
    const due = dueTasks(this.wishes(zones), hosts, zones);
    const keys = new Set(due.map(keyOf));
    for (const key of this.#pauses.keys()) if (!keys.has(key)) this.#pauses.delete(key);
    for (const { node } of troubles)
      if (!due.some((task) => task.node === node)) await this.#deps.hosts.note(node, null);
    const now = this.#deps.clock.monotonic();
    for (const task of due) {
      if (this.#busy.size >= AT_ONCE || !this.#lease?.held) return;
      if (this.#busy.has(task.node) || (this.#pauses.get(keyOf(task))?.untilMs ?? 0) > now) continue;
      const isTroubled = troubles.some(({ node }) => node === task.node);
      this.#busy.set(
        task.node,
        this.#work(task, isTroubled).finally(() => {
          this.#busy.delete(task.node);
          this.#rouse();
        }),
      );
    }
  }

  /** Never throws: what fails is noted and tried again later. */
  async #work(task: HostTask, isTroubled: boolean): Promise<void> {
    const { carryOut, hosts, log, clock } = this.#deps;
    const about = { node: task.node, host: task.host };
    try {
      await carryOut(task, this.#stop.signal);
      this.#pauses.delete(keyOf(task));
      if (isTroubled) await hosts.note(task.node, null);
      log.info(about, `dns: the node was ${task.verb}ed`);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const { code, message } = toDvError(error);
      const pauseMs = this.#pauses.get(keyOf(task))?.nextMs ?? FIRST_PAUSE_MS;
      const nextMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      this.#pauses.set(keyOf(task), { untilMs: clock.monotonic() + pauseMs, nextMs });
      log.warn({ ...about, code, error: message, againInMs: pauseMs }, `dns: the node was not ${task.verb}ed`);
      await hosts
        .note(task.node, { entry: "trouble", ...about, code, message, since: timestamp(clock) })
        .catch((failure: unknown) => log.warn({ ...about, code: toDvError(failure).code }, "dns: that is not noted"));
    }
  }

  /** The watch may read from a replica that lags; a node that is not seen yet must not count as one that left. @throws UNAVAILABLE */
  async #settle(): Promise<void> {
    const { clock } = this.#deps;
    const wanted = await this.#bucket?.lastRevision();
    const deadline = clock.monotonic() + SETTLE_MS;
    while (wanted === undefined || this.#seen < wanted) {
      if (wanted === undefined || clock.monotonic() > deadline || this.#stop.signal.aborted)
        throw new DvError("UNAVAILABLE", "The node registry is still being read here.");
      await clock.sleep(50, this.#stop.signal);
    }
  }
}

/** Another host, or other addresses, begin without a pause. */
function keyOf({ node, host, verb, addresses }: HostTask): string {
  return [node, host, verb, ...addresses].join(" ");
}
