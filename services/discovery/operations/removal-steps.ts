// SPDX-License-Identifier: Apache-2.0
/** The steps of a removal. Those up to the entry in the membership can be undone; the revocation seals what was before it. */
import { createHash } from "node:crypto";
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";
import type { Bus } from "@debvisor/shared/bus/bus";
import { timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { StepContext, StepKind } from "@debvisor/shared/operation/definition";
import { revocationOf } from "../membership-of.ts";
import { CLUSTER_KEY } from "../model/membership.ts";
import { decideClosing, decideRemoval, type EntryDecision, isBy } from "../model/removal.ts";
import type { BusControl } from "../reconcilers/bus-control.ts";
import type { MembershipStore } from "../reconcilers/membership-store.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

/** What the definition works with. `control` is there on servers that have the cluster's secrets. */
export interface RemovalDeps {
  readonly store: RegistryStore;
  readonly members: MembershipStore;
  readonly bus: Pick<Bus, "publishEvent">;
  readonly control: BusControl | undefined;
}

/** What every step of a removal is given. */
export interface RemovalParams {
  readonly node: string;
  /** Name of the server on the bus; null for a worker. */
  readonly server: string | null;
  readonly busKey: string;
  readonly before: Member["state"];
  readonly unattendedUntil: string | null;
}

const STEP_MS = 10_000;
const CUT_MS = 20_000;
const PEER_MS = 30_000;
const STREAMS_MS = 900_000;

/** The kinds of steps, by the key that plans name. */
export function removalSteps(deps: RemovalDeps) {
  return {
    streams: streamsStep(deps),
    close: closeStep(deps),
    membership: membershipStep(deps),
    cut: cutStep(deps),
    peer: peerStep(deps),
    entry: entryStep(deps),
  };
}

/** @throws UNAVAILABLE */
export function controlOf({ control }: RemovalDeps): BusControl {
  if (!control) throw new DvError("UNAVAILABLE", "This server has no secrets of the cluster, so it can remove nobody.");
  return control;
}

/** Changes an entry as it is decided on the newest one. @throws COMMAND_FENCED, CONFLICT, BUS_UNAVAILABLE */
async function changeEntry<T extends Member | ClusterEntry>(
  members: MembershipStore,
  key: string,
  decide: (entry: T | undefined) => EntryDecision<T>,
): Promise<void> {
  await members.fresh(key);
  await members.change<T>(key, (entry) => {
    const decision = decide(entry);
    if (decision.kind === "refused") throw new DvError(decision.code, decision.why);
    return decision.kind === "write" ? decision.entry : undefined;
  });
}

function closeStep({ members }: RemovalDeps): StepKind<RemovalParams> {
  const change = async ({ unattendedUntil }: RemovalParams, { order }: StepContext) => {
    await changeEntry<ClusterEntry>(members, CLUSTER_KEY, (entry) =>
      decideClosing(entry, order, unattendedUntil ?? ""),
    );
    return { unattendedUntil };
  };
  return {
    timeoutMs: STEP_MS,
    do: change,
    undo: change,
    inspect: async ({ unattendedUntil }) => {
      const entry = await members.fresh(CLUSTER_KEY);
      if (entry?.kind !== "cluster") return "unclear";
      if (entry.unattendedUntil === unattendedUntil) return "before";
      return entry.unattendedUntil === null ? "after" : "unclear";
    },
  };
}

function membershipStep({ members }: RemovalDeps): StepKind<RemovalParams> {
  const change = async ({ node, before }: RemovalParams, { order, submission, clock }: StepContext) => {
    const { actor, reason } = submission;
    const said = { before, actor, reason: reason ?? "", at: timestamp(clock) };
    await changeEntry<Member>(members, node, (entry) => decideRemoval(entry, order, said));
    return { before };
  };
  return {
    timeoutMs: STEP_MS,
    do: change,
    undo: change,
    inspect: async ({ node }, { submission }) => {
      const entry = await members.fresh(node);
      if (entry?.kind !== "member" || entry.state !== "removed") return "before";
      return isBy(entry.order, submission.id) ? "after" : "unclear";
    },
  };
}

function cutStep(deps: RemovalDeps): StepKind<RemovalParams> {
  return {
    timeoutMs: CUT_MS,
    undo: "never",
    seals: true,
    do: async ({ node }, context) => {
      const startedAt = context.clock.monotonic();
      const member = await deps.members.fresh(node);
      const revoked = member?.kind === "member" ? revocationOf(member) : undefined;
      if (member?.kind !== "member" || !revoked)
        throw new DvError("CONFLICT", "The membership does not say that it is removed.");
      const { missing } = await controlOf(deps).revoke([revoked]);
      const ms = Math.round(context.clock.monotonic() - startedAt);
      const { id, name, role, key, removed } = member;
      const { actor, id: operation } = context.submission;
      await deps.bus.publishEvent(
        clusterContract,
        "member.removed",
        { node: id, name, role, key, reason: removed?.reason ?? "", actor: removed?.actor ?? actor },
        { subject: id, id: eventIdOf(operation), actor },
      );
      return { missing, ms };
    },
    inspect: async ({ busKey }) => {
      const refuses = await controlOf(deps).refuses(busKey);
      if (refuses === undefined) return "unclear";
      return refuses ? "after" : "before";
    },
  };
}

function streamsStep(deps: RemovalDeps): StepKind<RemovalParams> {
  return {
    timeoutMs: STREAMS_MS,
    undo: "never",
    do: async ({ server }) => ({ moved: await controlOf(deps).moveStreams(server ?? "") }),
    inspect: async ({ server }) => {
      const left = await controlOf(deps).streamsOn(server ?? "");
      return left.length === 0 ? "after" : "before";
    },
  };
}

function peerStep(deps: RemovalDeps): StepKind<RemovalParams> {
  return {
    timeoutMs: PEER_MS,
    undo: "never",
    seals: true,
    do: async ({ server }) => {
      await controlOf(deps).removePeer(server ?? "");
      return { server };
    },
    inspect: async ({ server }) => {
      const peers = await controlOf(deps).peers();
      if (!peers) return "unclear";
      return peers.some(({ name }) => name === server) ? "before" : "after";
    },
  };
}

function entryStep({ store, members }: RemovalDeps): StepKind<RemovalParams> {
  return {
    timeoutMs: STEP_MS,
    undo: "never",
    seals: true,
    do: async ({ node }, { submission }) => {
      const member = await members.fresh(node);
      if (member?.kind === "member" && member.state !== "removed")
        throw new DvError("CONFLICT", "The membership does not say that it is removed.");
      await store.forget(node, submission.reason ?? "", { actor: submission.actor });
      return { deleted: true };
    },
    inspect: async ({ node }) => {
      const record = await store.read(node);
      return record === undefined || record.deleted ? "after" : "before";
    },
  };
}

/** The same for every attempt of an operation, so that the event is stored once; as random as the operation's id. */
function eventIdOf(operation: string): string {
  return createHash("sha256").update(`member.removed ${operation}`).digest("hex").slice(0, 32);
}
