// SPDX-License-Identifier: Apache-2.0
/** What the tests of the audit service share: servers and nodes on a real bus, records of a made-up emitter, a registry. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { auditContract, type RecordBody } from "@debvisor/proto-events/audit";
import { NodeEntry } from "@debvisor/proto-events/discovery";
import { buildRecord, type ChainHead } from "@debvisor/shared/audit/record";
import type { Anchor } from "@debvisor/shared/audit/trust";
import type { Bus, StoredEvent } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import type { RunningService, ServiceContext } from "@debvisor/shared/service";
import { startTracing } from "@debvisor/shared/telemetry";
import { onTestFinished } from "vitest";
import { type AuditConfig, auditConfig } from "../../../services/audit/config.ts";
import { auditService } from "../../../services/audit/service.ts";
import { type BusCluster, randomNodeId } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";

/** Times short enough for a test. */
const TIMES = {
  sealEveryMs: 500,
  witnessWaitMs: 2_000,
  orphanAfterMs: 600,
  checkEveryMs: 200,
  leaseSeconds: 2,
  journal: false,
};

export const CLUSTER = "test";

/** A node with the audit service on it. `bus` is undefined on one that is no server. */
export interface AuditNode {
  readonly id: string;
  readonly bus: ConnectedBus | undefined;
  readonly nodeBus: ConnectedBus;
  readonly running: RunningService;
  readonly stateDir: string;
}

/** The public side of the test's authority. */
export function anchorOf(cluster: BusCluster): Anchor {
  const { operatorJwt, accounts } = cluster.trust;
  return { operator: String(claimsOf(operatorJwt).sub), accounts: Object.values(accounts) };
}

function claimsOf(jwt: string) {
  return JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as { readonly sub: string };
}

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-audit-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export interface StartOptions {
  readonly config?: Partial<AuditConfig>;
  readonly isServer?: boolean;
  readonly id?: string;
  readonly stateDir?: string;
}

/** Starts the audit service as the service runner does, and registers its node. */
export async function startAudit(cluster: BusCluster, options: StartOptions = {}): Promise<AuditNode> {
  const { config = {}, isServer = true, id = randomNodeId(), stateDir = temporaryFolder() } = options;
  const nodeBus = await cluster.connectNode(id);
  const bus = isServer ? await connectAudit(cluster, id) : undefined;
  const context: ServiceContext<AuditConfig> = {
    config: auditConfig.parse({ ...TIMES, ...config }),
    log: cluster.log.child({ server: id }),
    clock: systemClock,
    tracing: await startTracing({ service: "audit", instance: id, version: "0.1.0", env: {} }),
    node: {
      id,
      name: `n-${id}`,
      roles: [isServer ? "server" : "worker"],
      cluster: CLUSTER,
      version: "0.1.0",
      bootId: randomBytes(8).toString("hex"),
      root: "/",
      dir: stateDir,
      stateDir,
      addresses: ["127.0.0.1"],
      advertiseKey: new Uint8Array(32),
      trust: anchorOf(cluster),
    },
    nodeBus,
    coreBus: bus,
  };
  const running = await auditService.start(context);
  onTestFinished(() => running.stop());
  await waitFor(
    () => running.ready() === undefined,
    20_000,
    () => `the audit service is ready: ${running.ready()}`,
  );
  await register(cluster, id);
  return { id, bus, nodeBus, running, stateDir };
}

/** Connects as the core part of audit on a node. */
export async function connectAudit(cluster: BusCluster, id: string): Promise<ConnectedBus> {
  const credential = await cluster.issuer.forCore("audit", id, [auditContract]);
  return cluster.connect({ credential, origin: "core", node: { id, name: "server" } });
}

/** Enters a node as alive. */
export async function register(cluster: BusCluster, id: string): Promise<void> {
  const discovery = await cluster.connectCore("discovery");
  const bucket = await discovery.bucket("dv_nodes", NodeEntry);
  if (await bucket.get(id)) return;
  const now = new Date().toISOString();
  const rest = { version: "0.1.0", addresses: [], bootId: "boot", lastSeen: now, registeredAt: now, disabled: null };
  await bucket.create(id, NodeEntry.parse({ id, name: `n-${id}`, roles: ["server"], state: "alive", ...rest }));
}

/** A record body with what the test does not care for filled in. */
export function body(more: Partial<RecordBody> = {}): RecordBody {
  return {
    kind: "outcome",
    ref: randomBytes(4).toString("hex"),
    actor: "tester",
    user: null,
    source: null,
    action: "test.do-it",
    mode: null,
    targets: [],
    args: {},
    reason: null,
    override: null,
    planDigest: null,
    operation: null,
    requestId: null,
    traceId: null,
    result: more.kind === "intent" ? null : { status: "ok", code: null, exitCode: 0, message: null },
    ...more,
  };
}

/** Writes genuine records under one credential, as an emitter does, without its retries. */
export class Scribe {
  readonly bus: Bus;
  readonly #boot = randomBytes(8).toString("hex");
  #chain: ChainHead = { n: 0, leaf: null };
  #seq = 0;

  constructor(bus: Bus) {
    this.bus = bus;
  }

  /** Appends a record; returns its sequence. */
  async write(more: Partial<RecordBody> = {}): Promise<number> {
    if (this.#chain.n === 0) await this.#append(body({ kind: "start", result: null, action: "test.start" }));
    return this.#append(body(more));
  }

  /** Appends bytes that are no record. */
  async scribble(text: string): Promise<number> {
    const id = randomBytes(16).toString("hex");
    this.#seq = await this.bus.journal("DV_AUDIT").append(this.bus.user, text, { expected: this.#seq, id });
    return this.#seq;
  }

  /** Goes on as if the last record had another hash. */
  loseChain(): void {
    this.#chain = { ...this.#chain, leaf: "0".repeat(64) };
  }

  async #append(record: RecordBody): Promise<number> {
    const built = buildRecord(record, {
      chain: this.#chain,
      signer: this.bus.signer,
      id: randomBytes(16).toString("hex"),
      boot: this.#boot,
      mono: performance.now(),
      time: new Date().toISOString(),
    });
    const options = { expected: this.#seq, id: built.record.id };
    this.#seq = await this.bus.journal("DV_AUDIT").append(this.bus.user, built.line, options);
    this.#chain = { n: built.record.n, leaf: built.leaf };
    return this.#seq;
  }
}

/** Connects somebody who writes records. */
export async function scribe(cluster: BusCluster, service = "discovery"): Promise<Scribe> {
  return new Scribe(await cluster.connectCore(service));
}

/** Somebody who may ask every core part. */
export function asker(cluster: BusCluster): Promise<ConnectedBus> {
  return cluster.connectCore("gateway");
}

/** Every event of audit from now on. */
export async function recordEvents(cluster: BusCluster): Promise<StoredEvent[]> {
  const bus = await cluster.connectCore("gateway");
  const events: StoredEvent[] = [];
  const { lastSeq } = await bus.eventRange();
  const onEvent = (event: StoredEvent) => {
    if (event.type.startsWith("audit.")) events.push(event);
  };
  const reader = await bus.readEvents({ fromSeq: lastSeq + 1, onEvent });
  onTestFinished(() => reader.stop());
  return events;
}

export const seal = (bus: Bus) => bus.request("core", auditContract, "getSeal", {});
