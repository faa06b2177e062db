// SPDX-License-Identifier: Apache-2.0
/** dns as the service runner starts it on a server, on a real bus; requests go over the bus as the gateway's do. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync } from "node:fs";
import path from "node:path";
import { dnsContract } from "@debvisor/proto-events/dns";
import { FINAL_STATES, type Operation } from "@debvisor/proto-events/durable";
import type { Output, Request } from "@debvisor/proto-events/kit";
import { contractsOf } from "@debvisor/proto-events/registry";
import { CORE } from "@debvisor/proto-events/subjects";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import { nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { requestControl } from "@debvisor/shared/operation/control";
import { openLockTable } from "@debvisor/shared/operation/lock-table";
import { foldEntries } from "@debvisor/shared/operation/operation-log";
import { operationView } from "@debvisor/shared/operation/view";
import type { ServiceContext } from "@debvisor/shared/service";
import { startTracing } from "@debvisor/shared/telemetry";
import { type DnsConfig, dnsConfig } from "../../../services/dns/config.ts";
import { dnsService } from "../../../services/dns/service.ts";
import { isInstalled } from "../../../tools/test-requirements.ts";
import { type TestBind, type TestKey, ZONES } from "../../support/bind.ts";
import type { ManagedBind } from "../../support/bind-managed.ts";
import { type BusCluster, randomNodeId } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";

type C = typeof dnsContract;
/** A rotation while many changes are made takes its time; tests have limits of their own. */
const END_MS = 120_000;

/** Programs that the tests need and this machine has not. */
export const lacking = ["named", "dig", "nsupdate"].filter((program) => !isInstalled(program));

/** The service with what tests ask of it. */
export interface DnsRig extends AsyncDisposable {
  readonly id: string;
  readonly bus: ConnectedBus;
  /** The service's own folder. */
  readonly dir: string;
  /** By which it seals secrets. */
  readonly sealKey: string;
  ask<K extends keyof C["operations"] & string>(operation: K, input: Request<C, K>): Promise<Output<C, K>>;
  /** Stores a key and names the servers of a BIND: ns1, and ns2 where there is a secondary. */
  configure(bind: TestBind, key?: TestKey): Promise<void>;
  /** Submits a change set and waits for its end. */
  change(input: Request<C, "changeRecords">): Promise<Operation>;
  /** Names the servers of a BIND on members: ns1 and ns2. */
  manage(bind: ManagedBind): Promise<void>;
  /** An operation at its end. */
  ended(id: string): Promise<Operation>;
  /** State of one of its steps. */
  stepOf(id: string, step: string): Promise<string | undefined>;
  /** Rotates keys and waits for the end. */
  rotate(input: Request<C, "rotateKeys">): Promise<Operation>;
  /** Rolls a change back and waits for the end. */
  rollback(id: string): Promise<Operation>;
  /** Cancels an operation and waits for its end. */
  cancel(id: string): Promise<Operation>;
  /** Waits until an operation is as `isSo` says. */
  until(id: string, isSo: (operation: Operation) => boolean): Promise<Operation>;
}

/** Starts the service; resolves when it is ready. */
export async function startDns(
  cluster: BusCluster,
  config: Partial<DnsConfig> = {},
  clock: Clock = systemClock,
): Promise<DnsRig> {
  const id = randomNodeId();
  const credential = await cluster.issuer.forCore("dns", id, contractsOf("dns"));
  const coreBus = await cluster.connect({ credential, origin: "core", node: { id, name: "server" } });
  const gateway = await cluster.connectCore("gateway");
  const dir = mkdtempSync(path.join(cluster.dir, "dns-"));
  mkdirSync(path.dirname(nodePaths(dir).seal("dns")), { recursive: true });
  writePrivateFile(nodePaths(dir).seal("dns"), sealKeyOf(cluster));
  const running = await dnsService.start(await contextOf(cluster, { id, dir, coreBus, clock, config }));
  await waitFor(
    () => running.ready() === undefined,
    20_000,
    () => `dns waits for ${running.ready()}`,
  );
  const ask: DnsRig["ask"] = (operation, input) =>
    gateway.request(CORE, dnsContract, operation, input, { actor: "tester", user: "ines" });
  const { read, until, ended, isOver, control } = controlsOf(coreBus, clock, cluster.log);
  return {
    id,
    bus: coreBus,
    dir,
    sealKey: sealKeyOf(cluster),
    ask,
    configure: async (bind, key = bind.key) => {
      await ask("setKey", { key: key.name, secret: key.secret });
      const zone = ZONES;
      const { port } = bind.primary;
      await ask("setServer", { server: "ns1", address: "127.0.0.1", port, zone, key: key.name });
      if (bind.secondary)
        await ask("setServer", {
          ...{ server: "ns2", address: "127.0.0.1", port: bind.secondary.port, role: "secondary", zone },
        } as const);
    },
    manage: (bind) => manage(ask, bind),
    ended,
    stepOf: async (operation, step) => (await read(operation))?.steps.find(({ id: one }) => one === step)?.state,
    change: async (input) => await ended((await ask("changeRecords", input)).id),
    rotate: async (input) => await ended((await ask("rotateKeys", input)).id),
    rollback: async (operation) => {
      await control(operation, "rollback");
      return await until(operation, ({ state }) => state === "rolled-back" || state === "stuck");
    },
    cancel: async (operation) => {
      await control(operation, "cancel");
      return await until(operation, isOver);
    },
    until,
    [Symbol.asyncDispose]: async () => {
      await running.stop();
    },
  };
}

/** Looks at operations and steers them, as a gateway would. */
function controlsOf(coreBus: ConnectedBus, clock: Clock, log: Logger) {
  const until: DnsRig["until"] = async (operation, isSo) => {
    let found: Operation | undefined;
    await waitFor(
      async () => {
        found = await read(operation);
        return found !== undefined && isSo(found);
      },
      END_MS,
      () => `${operation} is ${found?.state}`,
    );
    return found as Operation;
  };
  const isOver = ({ state }: Operation) => FINAL_STATES.has(state) || state === "stuck";
  const control = async (operation: string, verb: "cancel" | "rollback") => {
    const journal = coreBus.journal("DV_OPS");
    const locks = await openLockTable({ bus: coreBus, clock, log: log, isLive: async () => true });
    await requestControl({ journal, clock, locks }, operation, verb, { by: "tester", user: null, reason: null });
    await locks.stop();
  };
  const read = async (operation: string): Promise<Operation | undefined> => {
    const folded = foldEntries(await coreBus.journal("DV_OPS").read(operation));
    return folded && operationView(folded);
  };
  const ended = (operation: string | null) => until(operation ?? "", isOver);
  return { read, until, ended, isOver, control };
}

async function manage(ask: DnsRig["ask"], { zone: name, primary, secondary }: ManagedBind): Promise<void> {
  const own = { address: "127.0.0.1", zone: [name] };
  await ask("setServer", { ...own, server: "ns1", port: primary.port, node: primary.node });
  const other = { role: "secondary", port: secondary.port, node: secondary.node } as const;
  await ask("setServer", { ...own, server: "ns2", ...other });
}

const seals = new WeakMap<BusCluster, string>();

/** The same on every server of a cluster. */
function sealKeyOf(cluster: BusCluster): string {
  const key = seals.get(cluster) ?? randomBytes(32).toString("base64");
  seals.set(cluster, key);
  return key;
}

interface Parts {
  readonly id: string;
  readonly dir: string;
  readonly coreBus: ConnectedBus;
  readonly clock: Clock;
  readonly config: Partial<DnsConfig>;
}

async function contextOf(cluster: BusCluster, parts: Parts): Promise<ServiceContext<DnsConfig>> {
  const { id, dir, coreBus, clock, config } = parts;
  return {
    config: dnsConfig.parse(config),
    log: cluster.log.child({ dns: id }),
    clock,
    tracing: await startTracing({ service: "dns", instance: id, version: "0.1.0", env: {} }),
    node: {
      ...{ id, name: `s-${id}`, roles: ["server"], cluster: "test", version: "0.1.0", bootId: id, root: "/" },
      ...{ dir, stateDir: dir, addresses: ["127.0.0.1"], advertiseKey: new Uint8Array(32) },
      trust: { operator: "", accounts: [] },
    },
    nodeBus: coreBus,
    coreBus,
  };
}

/** Every event of the stream so far. */
export async function eventsOf(bus: ConnectedBus): Promise<string> {
  const { lastSeq } = await bus.eventRange();
  const found: unknown[] = [];
  const reader = await bus.readEvents({ fromSeq: 1, onEvent: (event) => void found.push(event) });
  await waitFor(
    () => found.length >= lastSeq,
    10_000,
    () => `${found.length} of ${lastSeq} events were read`,
  );
  await reader.stop();
  return JSON.stringify(found);
}
