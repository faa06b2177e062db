// SPDX-License-Identifier: Apache-2.0
/**
 * Where operations are tortured: a real bus with real locks and a real audit trail, nodes, and engine instances that can be killed
 * at any call. What an instance connects with is shared by the instances that follow it, so that thousands of them are cheap.
 */
import type { AuditRecord } from "@debvisor/proto-events/audit";
import type { AuditEmitter } from "@debvisor/shared/audit/emitter";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import type { Closable, Journal, JournalEntry, RequestContext } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import type { Definition, TargetNode } from "@debvisor/shared/operation/definition";
import { type Engine, startEngine } from "@debvisor/shared/operation/engine";
import type { Folded } from "@debvisor/shared/operation/fold";
import { type LockTable, openLockTable } from "@debvisor/shared/operation/lock-table";
import type { ControlVerb } from "@debvisor/shared/operation/log-record";
import { maintenanceGate } from "@debvisor/shared/operation/maintenance-gate";
import { foldEntries } from "@debvisor/shared/operation/operation-log";
import type { Patience } from "@debvisor/shared/operation/step-runner";
import { type BusCluster, randomNodeId } from "./bus-cluster.ts";
import { type Around, withAround } from "./operation-torture-around.ts";
import type { TortureNode } from "./operation-torture-node.ts";
import { type Hook, Ports, portAudit, portBus, portJournal, portLocks, uncounted } from "./operation-torture-ports.ts";
import { startParts, TORTURE_SERVICES, type TortureService } from "./operation-torture-services.ts";
import { waitFor } from "./wait-for.ts";

/** Instances that can live at the same time. */
const SLOTS = 3;
/** Short enough for a test, long enough for a busy machine. */
export const TORTURE_PATIENCE: Patience = { unreachableMs: 1_500, undoMs: 2_000, retryMs: 20 };

/** What the instances of one service connect with. */
interface Place {
  readonly bus: ConnectedBus;
  readonly audit: AuditEmitter & Closable;
  readonly locks: LockTable;
}

export interface InstanceOptions {
  /** The one operation that it is about. */
  readonly id: string;
  readonly slot: number;
  /** The service whose engine it is. Default: node-agent. */
  readonly service?: TortureService;
  readonly hook?: Hook;
  readonly around?: Around;
  readonly patience?: Patience;
  /** Longest time of an attempt in milliseconds, instead of the definition's. */
  readonly timeoutMs?: number | undefined;
  /** Owners that it takes for dead. Default: none. */
  readonly isGone?: (owner: string) => boolean;
}

/** An engine that can be killed at any call. */
export interface Instance {
  readonly engine: Engine;
  readonly ports: Ports;
  submit(type: string, input: Record<string, unknown>, context?: Partial<RequestContext>): Promise<unknown>;
  stop(): Promise<void>;
}

/** The bench. */
export class TortureBench {
  readonly cluster: BusCluster;
  readonly nodes: TortureNode[] = [];
  /** Nodes that are only names: for operations that touch no host. */
  readonly names: TargetNode[] = [];
  readonly #slots: Readonly<Record<TortureService, Place>>[] = [];
  readonly #log = new Map<string, JournalEntry[]>();
  readonly #trail = new Map<string, AuditRecord[]>();
  readonly #followers = new Map<string, Set<(entry: JournalEntry) => void>>();
  readonly #readers: Closable[] = [];
  readonly #ends: (() => Promise<void>)[] = [];

  constructor(cluster: BusCluster) {
    this.cluster = cluster;
  }

  async start(): Promise<void> {
    for (let i = 0; i < SLOTS; i++) this.#slots.push(await this.#openSlot());
    const log = this.journal;
    this.#readers.push(
      await log.follow({ fromSeq: (await log.range()).lastSeq + 1, onEntry: (entry) => this.#onLog(entry) }),
    );
    const trail = (await this.cluster.connectCore("audit")).journal("DV_AUDIT");
    this.#readers.push(await trail.follow({ fromSeq: 1, onEntry: (entry) => this.#onTrail(entry) }));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#readers.map((reader) => reader.stop()));
    await Promise.all(this.nodes.map((node) => node.stop()));
    await Promise.all(this.#ends.map((end) => end()));
    for (const { audit, locks } of this.#slots.flatMap((slot) => Object.values(slot)))
      await Promise.all([audit.stop(), locks.stop()]);
  }

  /** Ends something that a world has started, when the bench is stopped. */
  atEnd(end: () => Promise<void>): void {
    this.#ends.push(end);
  }

  /** A connection that nothing gets in the way of. */
  get bus(): ConnectedBus {
    return this.busOf("node-agent");
  }

  /** Likewise, of a service. */
  busOf(service: TortureService): ConnectedBus {
    return this.#place(0, service).bus;
  }

  get journal(): Journal {
    return this.bus.journal("DV_OPS");
  }

  get locks(): LockTable {
    return this.#place(0, "node-agent").locks;
  }

  directory(): readonly TargetNode[] {
    return [...this.nodes.map(({ target }) => target), ...this.names];
  }

  /** A name of a node that nothing else knows. */
  newName(): TargetNode {
    const id = randomNodeId();
    const node: TargetNode = {
      id,
      name: `name-${id.slice(0, 8)}`,
      state: "alive",
      roles: ["worker"],
      zone: null,
      rack: null,
      version: "0.1.0",
    };
    this.names.push(node);
    return node;
  }

  /** Starts an engine. */
  async instance({
    id,
    slot,
    service = "node-agent",
    hook,
    around,
    patience = TORTURE_PATIENCE,
    timeoutMs,
    isGone,
  }: InstanceOptions): Promise<Instance> {
    const { bus, audit, locks } = this.#place(slot, service);
    const ports = new Ports(hook);
    const gated = portBus(bus, ports);
    const parts = await startParts(service, bus, ports, this.cluster);
    const definitions = parts.definitions.map((definition) =>
      around ? withAround(definition, around, timeoutMs) : definition,
    );
    const engine = await startEngine({
      service,
      nodeId: randomNodeId(),
      bus: gated,
      definitions: definitions as unknown as readonly Definition<never>[],
      audit: portAudit(audit, ports),
      gate: maintenanceGate({ store: parts.maintenance, bus: gated }),
      directory: { list: () => this.directory() },
      clock: systemClock,
      log: this.cluster.log,
      patience,
      journal: portJournal(bus.journal("DV_OPS"), ports, (options) => this.#follow(id, options)),
      locks: () => Promise.resolve(portLocks(locks, ports)),
      owners: owner(isGone),
    });
    return {
      engine,
      ports,
      submit: (type, input, context = {}) => {
        const definition = definitions.find((one) => one.type === type);
        const parsed = definition?.spec.input.parse(input) as Record<string, unknown>;
        return engine.handler(type)(parsed, this.context({ operation: id, ...context }));
      },
      stop: async () => {
        await engine.stop();
        await parts.stop();
      },
    };
  }

  context(more: Partial<RequestContext>): RequestContext {
    return {
      requestId: randomNodeId(),
      actor: "tester",
      user: "alice",
      source: "127.0.0.1",
      traceId: undefined,
      order: undefined,
      operation: undefined,
      signal: new AbortController().signal,
      log: this.cluster.log,
      ...more,
    };
  }

  /** Asks something of an operation, as any other instance would. */
  async ask(id: string, request: ControlVerb): Promise<void> {
    const helper = await this.instance({ id, slot: SLOTS - 1 });
    try {
      await uncounted(() => helper.engine.control(id, request, { by: "tester", user: null, reason: "test" }));
    } finally {
      await helper.stop();
    }
  }

  /** The log of an operation as followed so far. */
  entries(id: string): readonly JournalEntry[] {
    return this.#log.get(id) ?? [];
  }

  /** The state by the log; undefined when nothing was ever written. @throws BUS_UNAVAILABLE */
  async read(id: string): Promise<Folded | undefined> {
    return foldEntries(await this.journal.read(id));
  }

  /** Records of the audit trail about an operation. */
  trail(id: string): readonly AuditRecord[] {
    return this.#trail.get(id) ?? [];
  }

  /** Calls back with every further record of an operation. */
  onEntry(id: string, callback: (entry: JournalEntry) => void): () => void {
    const all = this.#followers.get(id) ?? new Set();
    this.#followers.set(id, all.add(callback));
    return () => all.delete(callback);
  }

  /** Forgets what was followed about an operation. */
  forget(id: string): void {
    this.#log.delete(id);
    this.#trail.delete(id);
    this.#followers.delete(id);
  }

  #place(index: number, service: TortureService): Place {
    const slot = this.#slots[index % SLOTS];
    if (!slot) throw new Error("the bench has not been started");
    return slot[service];
  }

  async #openSlot(): Promise<Readonly<Record<TortureService, Place>>> {
    const places = await Promise.all(TORTURE_SERVICES.map(async (name) => [name, await this.#openPlace(name)]));
    return Object.fromEntries(places) as Readonly<Record<TortureService, Place>>;
  }

  async #openPlace(service: TortureService): Promise<Place> {
    const { log } = this.cluster;
    const bus = await this.cluster.connectCore(service);
    const audit = openEmitter({ bus, boot: randomNodeId(), clock: systemClock, log });
    const journal = bus.journal("DV_OPS");
    const isLive = async (id: string) => foldEntries(await journal.read(id))?.closed === false;
    const locks = await openLockTable({ bus, log, isLive });
    await waitFor(
      () => locks.ready,
      10_000,
      () => "the locks are not read",
    );
    return { bus, audit, locks };
  }

  #follow(id: string, { onEntry, onStand }: Parameters<Journal["follow"]>[0]): Promise<Closable> {
    onStand?.(0);
    let tail: Promise<void> = Promise.resolve();
    const stop = this.onEntry(id, (entry) => {
      tail = tail.then(() => uncounted(() => onEntry(entry))).catch(() => undefined);
    });
    return Promise.resolve({
      stop: () => {
        stop();
        return Promise.resolve();
      },
    });
  }

  #onLog(entry: JournalEntry): void {
    const known = this.#log.get(entry.key);
    if (known) known.push(entry);
    else this.#log.set(entry.key, [entry]);
    for (const follower of this.#followers.get(entry.key) ?? []) follower(entry);
  }

  #onTrail({ text }: JournalEntry): void {
    const record = JSON.parse(text) as AuditRecord;
    const known = this.#trail.get(record.ref);
    if (known) known.push(record);
    else this.#trail.set(record.ref, [record]);
  }
}

/** Nobody is gone until the test says so, by adopting. */
function owner(isGone: (owner: string) => boolean = () => false) {
  const none = () => Promise.resolve();
  return { self: `engine-${randomNodeId()}`, waitsFor: undefined, start: none, stop: none, isGone };
}
