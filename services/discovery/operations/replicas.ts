// SPDX-License-Identifier: Apache-2.0
/** Shows every replica as its server describes it now, and takes the wish that all of them be read. */
import { type clusterContract, ReplicaView } from "@debvisor/proto-events/cluster";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import { streamHabits } from "../model/replica-habits.ts";
import { judgeReplicas } from "../model/replica-health.ts";
import type { MembershipStore } from "../reconcilers/membership-store.ts";
import type { ReplicaControl } from "../reconcilers/replica-control.ts";
import type { ReplicaStore } from "../reconcilers/replica-store.ts";

type Contract = typeof clusterContract;

export interface ReplicaOperationDeps {
  readonly members: MembershipStore;
  /** Only on servers that have the cluster's secrets. */
  readonly control: ReplicaControl | undefined;
  readonly store: ReplicaStore;
  readonly clock: Clock;
}

/** One look proves nothing while writes go on. */
const BETWEEN_LOOKS_MS = 1_000;

const LISTING = {
  fields: fieldsOf(ReplicaView),
  aliases: {},
  id: ({ stream, server }: ReplicaView) => `${stream} ${server}`,
  sort: "stream",
};

export function listReplicasHandler({ members, control, store, clock }: ReplicaOperationDeps) {
  return async (
    input: Input<Contract, "listReplicas">,
    { signal }: RequestContext,
  ): Promise<Output<Contract, "listReplicas">> => {
    members.requireReady();
    if (!control)
      throw new DvError("UNAVAILABLE", "This server has no secrets of the cluster, so it cannot ask the others.");
    const before = await control.look();
    await clock.sleep(BETWEEN_LOOKS_MS, signal);
    const { readings } = store.records;
    const judged = judgeReplicas({ before, now: await control.look() }, streamHabits, readings);
    const shown = judged.map(({ server, stream, verdict, why, state }): ReplicaView => {
      const node = server.replace(/-\d+$/, "");
      return {
        ...{ stream, server, verdict, why },
        node: members.member(node)?.name ?? node,
        leads: state?.leader === server,
        messages: state?.messages ?? null,
        first: state?.first ?? null,
        last: state?.last ?? null,
        deleted: state?.deleted ?? null,
        readAt: readings.get(stream)?.at ?? null,
      };
    });
    return paginate(shown, input, LISTING);
  };
}

export function checkReplicasHandler({ members, store, clock }: ReplicaOperationDeps) {
  return async (
    _input: Input<Contract, "checkReplicas">,
    { actor }: RequestContext,
  ): Promise<Output<Contract, "checkReplicas">> => {
    members.requireReady();
    const askedAt = timestamp(clock);
    await store.put({ kind: "asked", at: askedAt, actor });
    return { askedAt };
  };
}
