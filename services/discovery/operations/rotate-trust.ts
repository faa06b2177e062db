// SPDX-License-Identifier: Apache-2.0
/**
 * The durable operation that replaces the authority of certificates (ADR-0024): believed besides the old one, then issuing, then alone.
 * Each step goes on when every member has said what it holds. Until the old one is removed all of it can go back.
 */
import type { Check, PlannedEffect } from "@debvisor/proto-events/durable";
import { CLUSTER } from "@debvisor/proto-events/maintenance";
import type { Member, TrustEntry } from "@debvisor/proto-events/membership";
import { trustContract } from "@debvisor/proto-events/trust";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import { CLUSTER_KEY } from "../model/membership.ts";
import { type Phase, phaseOf } from "../model/trust.ts";
import { MEMBERSHIP_RESOURCE } from "./remove-node.ts";
import { holdingOf, keysOf, type RotationDeps, type RotationParams, rotationSteps, trustOf } from "./rotation-steps.ts";

const DEADLINE_MS = 3_600_000;
/** A member that lives answers within milliseconds. */
const PLAN_ASK_MS = 2_000;
const RESOURCE = "cluster/trust";

interface RotateInput {
  readonly without?: string | undefined;
}

/** `trust.rotate-authority`. One that broke off while it went forward is finished by the next. */
export function rotateAuthorityDefinition(deps: RotationDeps): Definition<RotateInput> {
  return {
    type: "trust.rotate-authority",
    spec: trustContract.operations.rotateAuthority,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: async (input, reader, { reason }) => {
      if (reason === undefined) throw new DvError("INVALID_ARGUMENT", "reason: say why the authority is replaced.");
      keysOf(deps);
      const entry = await trustOf(deps);
      const members = [...(await deps.members.readMembers()).values()]
        .filter(({ state }) => state !== "removed")
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      const without = leftOut(members, input.without);
      const cluster = await deps.members.fresh(CLUSTER_KEY);
      const joining = cluster?.kind === "cluster" ? cluster.joining : null;
      return {
        targets: [],
        steps: stepsOf(
          entry,
          without.map(({ id }) => id),
        ),
        effects: effectsOf(
          entry,
          members.filter((member) => !without.includes(member)),
        ),
        checks: [
          ...(await Promise.all(
            members.map((member) => (without.includes(member) ? leftCheck(member) : lifeCheck(member, entry, reader))),
          )),
          joiningCheck(joining?.node ?? null),
        ],
        // Who belongs must not change under it other than by joining.
        resources: [RESOURCE, MEMBERSHIP_RESOURCE],
        touches: [CLUSTER],
        undo: "Until the old authority is removed, dvctl operations cancel undoes all of it. Afterwards rotate again.",
        basis: {
          authorities: entry.authorities.map(({ fingerprint }) => fingerprint),
          issuer: entry.issuer,
          members: members.map(({ id, key }) => [id, key]).sort(),
          without: without.map(({ id }) => id),
        },
      };
    },
    steps: rotationSteps(deps),
    result: (answers) => answers["remove"] ?? null,
  };
}

const TITLES: Readonly<Record<"add" | "issue" | "remove", string>> = {
  add: "make a new authority, and have every member believe it besides the old one",
  issue: "issue every member a certificate of the new authority",
  remove: "remove the old authority and its key",
};

/** Steps that are left, by where an earlier rotation broke off. */
const LEFT: Readonly<Record<Phase, readonly (keyof typeof TITLES)[]>> = {
  single: ["add", "issue", "remove"],
  added: ["issue", "remove"],
  issuing: ["remove"],
};

function stepsOf(entry: TrustEntry, without: readonly string[]): PlannedStep[] {
  const params: RotationParams = { from: entry.authorities[0]?.fingerprint ?? "", without };
  return LEFT[phaseOf(entry)].map((kind) => ({
    id: kind,
    kind,
    title: TITLES[kind],
    target: null,
    params,
    resource: RESOURCE,
  }));
}

function effectsOf(entry: TrustEntry, members: readonly Member[]): PlannedEffect[] {
  const [old, next] = entry.authorities.map(({ fingerprint }) => shortOf(fingerprint));
  const after = next ? `authority ${next}` : "a new authority";
  const effect = (target: string | null, what: string, before: string | null): PlannedEffect => ({
    ...{ target, what, before, after, diff: null },
  });
  return [
    effect(null, "authority of certificates", `authority ${old}`),
    ...members.flatMap(({ name, role, certificate }) => [
      effect(name, "certificate", `of authority ${shortOf(entry.issuer)}, ends ${certificate?.notAfter ?? "unknown"}`),
      ...(role === "server" ? [effect(name, "key in secrets/server.json", `authority ${old}`)] : []),
    ]),
  ];
}

/** As much of a fingerprint as people compare. */
function shortOf(fingerprint: string): string {
  return fingerprint.slice(0, 12);
}

/** The workers that are named. A server has to take part: it would come back with a nats-server that no other lets in. */
function leftOut(members: readonly Member[], named: string | undefined): Member[] {
  return (named?.split(",") ?? []).map((ref) => {
    const found = members.find(({ id, name }) => id === ref || name === ref);
    if (!found) throw new DvError("NODE_NOT_FOUND", `No node ${ref} is a member.`, { details: { node: ref } });
    if (found.role === "server")
      throw new DvError("INVALID_ARGUMENT", `without: ${found.name} is a server; bring it up, or remove it first.`);
    return found;
  });
}

function leftCheck({ name }: Member): Check {
  return {
    ...{ id: "member.answers", target: name, status: "warned" },
    message: "it is not asked; when it comes back it asks a server what to believe",
    hint: `until then it has no connection; if it does not come back: dvctl nodes remove ${name}`,
  };
}

/** Asks the member itself: it is what has to answer in every step. */
async function lifeCheck({ id, name, role, state }: Member, entry: TrustEntry, reader: Reader): Promise<Check> {
  const base = { id: "member.answers", target: name };
  if (state === "admitted")
    return {
      ...base,
      status: "failed",
      message: "it was let in and has not come up yet",
      hint: "wait until it is active: dvctl cluster members",
    };
  const held = await holdingOf(id, entry, reader, PLAN_ASK_MS);
  if (typeof held !== "string") return { ...base, status: "passed", message: "it answers", hint: null };
  return {
    ...base,
    status: "failed",
    message: `it ${held}; it would come back believing an authority that is gone`,
    hint:
      role === "server"
        ? `bring it up, or remove it: dvctl nodes remove ${name}`
        : `bring it up, remove it, or leave it out: --without ${name}`,
  };
}

function joiningCheck(node: string | null): Check {
  const base = { id: "cluster.joining", target: null };
  return node === null
    ? { ...base, status: "passed", message: "no server is joining", hint: null }
    : { ...base, status: "failed", message: `server ${node} is joining`, hint: "wait until it belongs" };
}
