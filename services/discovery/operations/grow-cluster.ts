// SPDX-License-Identifier: Apache-2.0
/** The durable operation that lets the cluster have more servers: one number in the membership, set by compare-and-set and read back. */
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { ClusterEntry } from "@debvisor/proto-events/membership";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, StepContext, StepKind } from "@debvisor/shared/operation/definition";
import { decideSize, type Servers, serversAmong } from "../model/cluster-size.ts";
import { CLUSTER_KEY } from "../model/membership.ts";
import type { MembershipStore } from "../reconcilers/membership-store.ts";

/** What the definition works with. */
export interface GrowDeps {
  readonly members: MembershipStore;
}

interface GrowParams {
  readonly formation: string;
  readonly from: Servers;
  readonly to: Servers;
}

const DEADLINE_MS = 600_000;
const STEP_MS = 10_000;
/** The lock that everything takes which changes the size of the cluster. */
const RESOURCE = "cluster/servers";

/** `cluster.grow-cluster`. A cluster that is declared so already stays as it is. */
export function growClusterDefinition({ members }: GrowDeps): Definition<{ servers: 3 | 5 }> {
  return {
    type: "cluster.grow-cluster",
    spec: clusterContract.operations.growCluster,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: async ({ servers: to }) => {
      const { formation, servers: from } = await clusterOf(members);
      if (from > to)
        throw new DvError(
          "INVALID_ARGUMENT",
          `servers: the cluster is declared to have ${from}; growing cannot make it ${to}.`,
        );
      const present = serversAmong((await members.readMembers()).values());
      const missing = from - present.filter(({ state }) => state === "active").length;
      const change = from !== to;
      const params: GrowParams = { formation, from, to };
      return {
        targets: [],
        steps: change
          ? [
              {
                id: "declare",
                kind: "declare",
                title: `declare ${to} servers`,
                target: null,
                params,
                resource: RESOURCE,
              },
            ]
          : [],
        effects: change
          ? [{ target: null, what: "declared servers", before: String(from), after: String(to), diff: null }]
          : [],
        checks: [
          {
            id: "servers.joined",
            target: null,
            status: missing > 0 ? "failed" : "passed",
            message:
              missing > 0
                ? `${missing} of the ${from} declared servers have not joined.`
                : `All ${from} declared servers have joined.`,
            hint: missing > 0 ? "Let them join first, or remove what will not come back." : null,
          },
        ],
        resources: [RESOURCE],
        undo: "rollback of this operation, as long as no further server has joined",
        basis: { formation, servers: from },
      };
    },
    steps: { declare: declareStep(members) },
  };
}

function declareStep(members: MembershipStore): StepKind<GrowParams> {
  const change = async ({ formation }: GrowParams, { order }: StepContext, from: Servers, to: Servers) => {
    const servers = serversAmong((await members.readMembers()).values()).length;
    await members.change<ClusterEntry>(
      CLUSTER_KEY,
      (entry) => {
        if (!entry) throw new DvError("CONFLICT", "The cluster has no entry.");
        const decision = decideSize(entry, { formation, from, to, order }, servers);
        if (decision.kind === "refused") throw new DvError(decision.code, decision.why);
        return decision.kind === "write" ? decision.entry : undefined;
      },
      { fresh: true },
    );
    return { before: from, after: to };
  };
  return {
    timeoutMs: STEP_MS,
    do: (params, context) => change(params, context, params.from, params.to),
    undo: (params, context) => change(params, context, params.to, params.from),
    inspect: async ({ from, to }) => {
      const { servers } = await clusterOf(members);
      if (servers === from) return "before";
      return servers === to ? "after" : "unclear";
    },
  };
}

/** The entry as the bucket has it. @throws CONFLICT, BUS_UNAVAILABLE */
async function clusterOf(members: MembershipStore): Promise<ClusterEntry> {
  const entry = await members.fresh(CLUSTER_KEY);
  if (entry?.kind !== "cluster") throw new DvError("CONFLICT", "The cluster has no entry.");
  return entry;
}
