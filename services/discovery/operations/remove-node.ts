// SPDX-License-Identifier: Apache-2.0
/**
 * The durable operation that removes a member for good (RULES.md 8): the membership says so, the bus refuses its user and cuts it, a
 * server leaves the group of servers, the registry forgets it. Until the revocation begins all of it can go back; from then on it
 * only goes on, and whatever fails is finished by removing the node again.
 */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Check, PlannedEffect } from "@debvisor/proto-events/durable";
import type { Member } from "@debvisor/proto-events/membership";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import { CLUSTER_KEY, serverNameOf, servingMembers } from "../model/membership.ts";
import { asOfNow, silenceOf } from "../model/registry.ts";
import { type RemovalSubject, serverChecks } from "../model/removal.ts";
import { registryResource } from "./mark-node.ts";
import { controlOf, type RemovalDeps, type RemovalParams, removalSteps } from "./removal-steps.ts";

interface RemoveInput {
  readonly node: string;
}

/** One removal at a time: each makes the list of who is refused anew. */
export const MEMBERSHIP_RESOURCE = "cluster/membership";
const DEADLINE_MS = 3_600_000;
/** Replicas of each stream; moving one takes a server that does not hold it. */
const REPLICAS = 3;

/** `discovery.remove-node`. */
export function removeNodeDefinition(deps: RemovalDeps): Definition<RemoveInput> {
  return {
    type: "discovery.remove-node",
    spec: discoveryContract.operations.removeNode,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: async ({ node }, reader, { reason }) => {
      if (reason === undefined) throw new DvError("INVALID_ARGUMENT", "reason: say why the node is removed.");
      const member = await memberOf(deps, node, reader);
      const found = await lookAt(deps, member);
      const steps = stepsOf(member, found);
      const idle = steps.length === 0;
      return {
        targets: [{ id: member.id, name: member.name, zone: found.zone, state: idle ? "unchanged" : "change" }],
        steps,
        effects: idle ? [] : effectsOf(member, found, reason),
        checks: [stateCheck(member, idle), ...found.checks],
        resources: [MEMBERSHIP_RESOURCE, registryResource(member.id)],
        undo: "Until the revocation begins, dvctl operations cancel undoes all of it. A revocation cannot be undone; to have the machine back, join it again as a new node.",
        basis: [
          member.id,
          member.state,
          member.key,
          member.incarnation,
          found.unattendedUntil,
          steps.map(({ id }) => id),
        ],
      };
    },
    steps: removalSteps(deps),
    result: (answers) => answers["cut"] ?? null,
  };
}

/** What a plan rests on besides the member itself. */
interface Found {
  readonly zone: string | null;
  readonly unattendedUntil: string | null;
  readonly isRefused: boolean;
  readonly isPeer: boolean;
  readonly isRegistered: boolean;
  /** Whether its replicas can go elsewhere first. */
  readonly movesStreams: boolean;
  readonly checks: readonly Check[];
}

/** @throws NODE_NOT_FOUND, BUS_UNAVAILABLE */
async function memberOf({ members }: RemovalDeps, ref: string, reader: Reader): Promise<Member> {
  const known = reader.nodes().find(({ id, name }) => id === ref || name === ref);
  const id = known?.id ?? members.find(ref).id;
  const entry = await members.fresh(id);
  if (entry?.kind !== "member")
    throw new DvError("NODE_NOT_FOUND", `${ref} is no member; dvctl nodes delete removes what was entered by hand.`);
  return entry;
}

async function lookAt(deps: RemovalDeps, member: Member): Promise<Found> {
  const control = controlOf(deps);
  const record = await deps.store.read(member.id);
  const cluster = await deps.members.fresh(CLUSTER_KEY);
  const isServer = member.role === "server";
  const peers = isServer ? await control.peers() : [];
  const server = serverNameOf(member);
  const others = servers(deps).filter(({ id, alive }) => id !== member.id && alive);
  const isRemoved = member.state === "removed";
  const hasRoom = isServer && !isRemoved && others.length >= REPLICAS;
  return {
    zone: record?.zone ?? null,
    unattendedUntil: cluster?.kind === "cluster" ? cluster.unattendedUntil : null,
    isRefused: isRemoved && (await control.refuses(member.busKey)) === true,
    isPeer: peers?.some(({ name }) => name === server) ?? true,
    isRegistered: record !== undefined && !record.deleted,
    movesStreams: hasRoom && (await control.streamsOn(server)).length > 0,
    checks: isRemoved
      ? []
      : isServer
        ? serverChecks(subjectOf(deps, member), servers(deps), {
            led: peers !== undefined,
            lagging: await control.lagging(server),
          })
        : [lifeCheck(subjectOf(deps, member))],
  };
}

function subjectOf({ store }: RemovalDeps, { id, name }: Member): RemovalSubject {
  const record = store.record(id);
  const live = store.live(id);
  const view = store.view();
  const isHeard = live !== undefined && silenceOf(live, view) <= view.suspectAfterMs;
  return { id, name, alive: isHeard || (record !== undefined && asOfNow(record, live, view).state === "alive") };
}

function servers(deps: RemovalDeps): RemovalSubject[] {
  return servingMembers(deps.members.members()).map((member) => subjectOf(deps, member));
}

function stateCheck({ name, state, removed }: Member, idle: boolean): Check {
  const said = removed ? `removed by ${removed.actor} at ${removed.at}: ${removed.reason}` : `a member (${state})`;
  const message = removed && !idle ? `${said}; what is left of it is finished` : said;
  return {
    id: "member.state",
    target: name,
    status: "passed",
    message: removed && idle ? `already ${said}` : message,
    hint: null,
  };
}

function lifeCheck({ name, alive }: RemovalSubject): Check {
  const base = { id: "member.life", target: name };
  return alive
    ? {
        ...base,
        status: "warned",
        message: "it runs; what it does goes on without the cluster",
        hint: "stop it first if it should not",
      }
    : { ...base, status: "passed", message: "it does not answer", hint: null };
}

function stepsOf(member: Member, found: Found): PlannedStep[] {
  const { id, name, role, state, busKey } = member;
  const isRemoved = state === "removed";
  const isServer = role === "server";
  const params: RemovalParams = {
    node: id,
    server: isServer ? serverNameOf(member) : null,
    busKey,
    before: state,
    unattendedUntil: found.unattendedUntil,
  };
  const step = (kind: string, title: string, resource = MEMBERSHIP_RESOURCE): PlannedStep => ({
    id: kind,
    kind,
    title,
    target: id,
    params,
    resource,
  });
  return [
    ...(found.movesStreams ? [step("streams", `move the replicas of ${name} to other servers`)] : []),
    ...(!isRemoved && found.unattendedUntil !== null
      ? [step("close", "close joining by the cluster secret alone")]
      : []),
    ...(isRemoved ? [] : [step("membership", `enter into the membership that ${name} is removed`)]),
    ...(found.isRefused
      ? []
      : [step("cut", `revoke the credential of ${name} on every server of the bus, and cut it`)]),
    ...(isServer && found.isPeer ? [step("peer", `take ${name} out of the group of servers`)] : []),
    ...(found.isRegistered ? [step("entry", `delete the registry entry of ${name}`, registryResource(id))] : []),
  ];
}

function effectsOf({ name, state, role }: Member, found: Found, reason: string): PlannedEffect[] {
  const effect = (what: string, before: string, after: string | null): PlannedEffect => ({
    target: name,
    what,
    before,
    after,
    diff: null,
  });
  return [
    ...(state === "removed" ? [] : [effect("membership", state, `removed: ${reason}`)]),
    ...(found.isRefused ? [] : [effect("credential on the bus", "valid", "revoked, which cannot be undone")]),
    ...(role === "server" && found.isPeer ? [effect("group of servers", "in it", null)] : []),
    ...(found.isRegistered ? [effect("registry entry", "there", null)] : []),
    ...(state !== "removed" && found.unattendedUntil !== null
      ? [{ ...effect("joining by the secret alone", `open until ${found.unattendedUntil}`, "closed"), target: null }]
      : []),
  ];
}
