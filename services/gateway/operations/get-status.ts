// SPDX-License-Identifier: Apache-2.0
/** Shows how the cluster is, from what this gateway can observe at the moment of asking. */
import { auditContract } from "@debvisor/proto-events/audit";
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { operationContract } from "@debvisor/proto-events/operation";
import { CONTRACTS, contractsOf } from "@debvisor/proto-events/registry";
import { CORE } from "@debvisor/proto-events/subjects";
import type { Bus } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import type { NodeDirectory } from "../directory.ts";
import type { InstanceCensus } from "../instances.ts";
import { countNodes, judgeNodes, judgeService, type Verdict, worst } from "../model/status.ts";
import type { WriteProbe } from "../write-probe.ts";

export interface StatusDeps {
  readonly bus: Bus;
  readonly directory: NodeDirectory;
  readonly instances: InstanceCensus;
  readonly writes: WriteProbe;
  readonly clock: Clock;
  readonly cluster: string;
  readonly version: string;
}

/** Longest time to wait for each of those that are asked, in milliseconds. */
const ASK_MS = 2_000;

type Contract = typeof gatewayContract;
type Component = Output<Contract, "getStatus">["components"][number];

export function getStatusHandler(deps: StatusDeps) {
  return async ({ component }: Input<Contract, "getStatus">): Promise<Output<Contract, "getStatus">> => {
    const wanted = (name: string) => component === "all" || component === name;
    const nodes = countNodes(deps.directory.list());
    const parts = await Promise.all([
      wanted("bus") ? checkBus(deps) : [],
      wanted("nodes") ? [stamp(deps, "nodes", judgeNodes(nodes))] : [],
      wanted("services") ? checkServices(deps) : [],
      wanted("bus") ? checkReplicas(deps) : [],
      wanted("services") ? checkTrail(deps) : [],
      wanted("services") ? checkOperations(deps) : [],
    ]);
    const components = parts.flat();
    return {
      cluster: deps.cluster,
      state: worst(components.map(({ state }) => state)),
      version: deps.version,
      time: timestamp(deps.clock),
      nodes,
      components,
    };
  };
}

async function checkBus(deps: StatusDeps): Promise<Component[]> {
  try {
    const [rttMs, { lastSeq }] = await Promise.all([deps.bus.rtt(), deps.bus.eventRange()]);
    const { fault } = deps.writes;
    if (fault) return [stamp(deps, "bus", { state: "failed", detail: `connected, but ${fault}` })];
    return [
      stamp(deps, "bus", { state: "ok", detail: `round trip ${rttMs.toFixed(1)} ms, event stream at ${lastSeq}` }),
    ];
  } catch {
    const detail = deps.bus.connected ? "connected, but the event stream has no leader" : "not connected";
    return [stamp(deps, "bus", { state: "failed", detail })];
  }
}

async function checkServices(deps: StatusDeps): Promise<Component[]> {
  const names = [...new Set(CONTRACTS.map(({ service, implementedBy }) => implementedBy ?? service))];
  try {
    const seen = (await deps.instances.list()).map(({ service, metadata }) => ({
      service,
      part: metadata["part"] ?? "",
      node: metadata["node"] ?? "",
    }));
    const alive = deps.directory.list().filter(({ state }) => state === "alive");
    return names.map((name) => stamp(deps, name, judgeService(name, contractsOf(name), seen, alive)));
  } catch {
    return names.map((name) => stamp(deps, name, { state: "unknown", detail: "the bus does not answer" }));
  }
}

/** Replicas of streams that were not sound at the latest check. Nothing when nobody says: a missing service is said above. */
async function checkReplicas(deps: StatusDeps): Promise<Component[]> {
  try {
    const { badReplicas } = await deps.bus.request(CORE, clusterContract, "getCluster", {}, { timeoutMs: ASK_MS });
    const [first, ...others] = badReplicas ?? [];
    if (first === undefined) return [];
    const detail = others.length === 0 ? first : `${first}, and ${others.length} more`;
    return [stamp(deps, "replicas", { state: "degraded", detail })];
  } catch {
    return [];
  }
}

/** Alarms of the audit trail: tampering, or a store that was rolled back. */
async function checkTrail(deps: StatusDeps): Promise<Component[]> {
  try {
    const seal = await deps.bus.request(CORE, auditContract, "getSeal", {}, { timeoutMs: ASK_MS });
    const [alarm] = seal.alarms;
    if (alarm !== undefined) return [stamp(deps, "audit-trail", { state: "failed", detail: alarm })];
    const { records, unsealed, witnesses } = seal;
    const detail = `${records} records, ${unsealed} not sealed yet, ${witnesses} witnesses`;
    return [stamp(deps, "audit-trail", { state: "ok", detail })];
  } catch {
    return [stamp(deps, "audit-trail", { state: "unknown", detail: "the audit service does not answer" })];
  }
}

/** Operations that need a person. */
async function checkOperations(deps: StatusDeps): Promise<Component[]> {
  const input = { filter: "state=stuck", limit: 5 };
  try {
    const { items } = await deps.bus.request(CORE, operationContract, "listOperations", input, { timeoutMs: ASK_MS });
    const ids = items.map(({ id }) => id).join(", ");
    const verdict: Verdict =
      items.length > 0
        ? { state: "degraded", detail: `stuck, a person is needed: ${ids}` }
        : { state: "ok", detail: "none is stuck" };
    return [stamp(deps, "operations", verdict)];
  } catch {
    return [stamp(deps, "operations", { state: "unknown", detail: "the operation engine does not answer" })];
  }
}

function stamp({ clock }: StatusDeps, component: string, { state, detail }: Verdict): Component {
  return { component, state, detail, checkedAt: timestamp(clock) };
}
