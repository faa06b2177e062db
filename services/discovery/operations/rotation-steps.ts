// SPDX-License-Identifier: Apache-2.0
/** The steps of a rotation. Each enters what is wanted into the membership, then asks every member until all hold it. */
import { createHash } from "node:crypto";
import type { Authority, Member, TrustEntry } from "@debvisor/proto-events/membership";
import { type TrustHolding, trustContract } from "@debvisor/proto-events/trust";
import type { Bus } from "@debvisor/shared/bus/bus";
import { timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Reader, Sight, StepContext, StepKind } from "@debvisor/shared/operation/definition";
import type { EntryDecision } from "../model/removal.ts";
import { decideAdd, decideIssue, decideRemove, faultOf, type Phase, phaseOf, TRUST_KEY } from "../model/trust.ts";
import type { MembershipStore } from "../reconcilers/membership-store.ts";

/** The new authority of an operation, made on this server. */
export interface AuthorityMaker {
  /** The same for the same operation; its key is on the disk afterwards. */
  stage(operation: string): Promise<Authority>;
}

/** What the definition works with. `maker` is there on servers that have the cluster's secrets. */
export interface RotationDeps {
  readonly members: MembershipStore;
  readonly bus: Pick<Bus, "publishEvent">;
  readonly maker: () => AuthorityMaker | undefined;
}

/** What every step of a rotation is given: the fingerprint of the authority that is to go. */
export interface RotationParams {
  readonly from: string;
  /** Ids of workers that are not asked; they ask a server themselves when they come back. */
  readonly without: readonly string[];
}

/** How long members are asked before the attempt ends; others follow while the step is patient. */
const CONFIRM_MS = 30_000;
/** Who does not answer while the old authority goes, or while a step is undone, follows when it is back. */
const LENIENT_MS = 15_000;
/** A server that reads its files anew forgets requests under way. What a member has begun goes on; the next question joins it. */
const ASK_MS = 2_000;
/** Pause between two rounds; grows, because each round reads the membership anew. */
const PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 2_000;
const STEP_MS = 60_000;
const PATIENCE_MS = 180_000;
/** Members that are asked at a time. */
const AT_ONCE = 16;

/** The kinds of steps, by the key that plans name. */
export function rotationSteps(deps: RotationDeps) {
  return { add: addStep(deps), issue: issueStep(deps), remove: removeStep(deps) };
}

/** @throws UNAVAILABLE */
export function keysOf({ maker }: RotationDeps): AuthorityMaker {
  const made = maker();
  if (!made)
    throw new DvError("UNAVAILABLE", "This server has no secrets of the cluster yet, so it can make no authority.");
  return made;
}

/** The entry as the bucket has it. @throws UNAVAILABLE, BUS_UNAVAILABLE */
export async function trustOf({ members }: RotationDeps): Promise<TrustEntry> {
  const entry = await members.fresh(TRUST_KEY);
  if (entry?.kind !== "trust") throw new DvError("UNAVAILABLE", "No server has entered the cluster's authority yet.");
  return entry;
}

function addStep(deps: RotationDeps): StepKind<RotationParams> {
  return {
    timeoutMs: STEP_MS,
    patienceMs: PATIENCE_MS,
    do: async ({ from, without }, context) => {
      const next = await keysOf(deps).stage(context.order.operation);
      const entry = await change(deps, (now) => decideAdd(now, context.order, { from, next }));
      return await confirmed(deps, { entry, without }, context);
    },
    undo: async ({ from, without }, context) => {
      const entry = await change(deps, (now) => decideAdd(now, context.order, { from, next: undefined }));
      return { missing: await leniently(deps, { entry, without }, context) };
    },
    inspect: (params, context) => look(deps, params, context, { before: "single", after: "added" }),
  };
}

function issueStep(deps: RotationDeps): StepKind<RotationParams> {
  return {
    timeoutMs: STEP_MS,
    patienceMs: PATIENCE_MS,
    do: async ({ from, without }, context) => {
      const entry = await change(deps, (now) => decideIssue(now, context.order, { from }));
      return await confirmed(deps, { entry, without }, context);
    },
    undo: async ({ from, without }, context) => {
      const entry = await change(deps, (now) => decideIssue(now, context.order, { from }));
      const missing = await untilHeld(deps, { entry, without }, context, LENIENT_MS);
      const servers = missing.filter(({ isServer }) => isServer);
      // One that comes back with a certificate of the new authority when nobody believes that any more would be let in by no other.
      if (servers.length > 0)
        throw new DvError("TIMEOUT", `A server has to take up a certificate of the old authority: ${listOf(servers)}.`);
      return { missing: missing.map(({ said }) => said) };
    },
    inspect: (params, context) => look(deps, params, context, { before: "added", after: "issuing" }),
  };
}

function removeStep(deps: RotationDeps): StepKind<RotationParams> {
  return {
    timeoutMs: STEP_MS,
    patienceMs: PATIENCE_MS,
    undo: "never",
    seals: true,
    do: async ({ from, without }, context) => {
      const at = timestamp(context.clock);
      const entry = await change(deps, (now) => decideRemove(now, context.order, { from, at }));
      const missing = await leniently(deps, { entry, without }, context);
      const { id, actor, reason } = context.submission;
      const { generation, issuer } = entry;
      await deps.bus.publishEvent(
        trustContract,
        "authority.rotated",
        { generation, before: from, after: issuer, reason: reason ?? "", actor },
        { subject: issuer, id: eventIdOf(id), actor },
      );
      return { generation, authority: issuer, missing };
    },
    inspect: async ({ from }) => {
      const entry = await trustOf(deps);
      if (entry.authorities.some(({ fingerprint }) => fingerprint === from)) return "before";
      return phaseOf(entry) === "single" ? "after" : "unclear";
    },
  };
}

/** Changes the entry as it is decided on the newest one. @throws COMMAND_FENCED, CONFLICT, BUS_UNAVAILABLE */
async function change(
  { members }: RotationDeps,
  decide: (entry: TrustEntry | undefined) => EntryDecision<TrustEntry>,
): Promise<TrustEntry> {
  const entry = await members.change<TrustEntry>(
    TRUST_KEY,
    (now) => {
      const decision = decide(now);
      if (decision.kind === "refused") throw new DvError(decision.code, decision.why);
      return decision.kind === "write" ? decision.entry : undefined;
    },
    { fresh: true },
  );
  if (!entry) throw new DvError("CONFLICT", "The membership has no entry about its authority.");
  return entry;
}

/** How the entry stands, and for `after` whether every member holds what it says. */
async function look(
  deps: RotationDeps,
  { from, without }: RotationParams,
  context: StepContext,
  { before, after }: { before: Phase; after: Phase },
): Promise<Sight> {
  const entry = await trustOf(deps);
  if (entry.authorities[0]?.fingerprint !== from) return "unclear";
  const phase = phaseOf(entry);
  if (phase === before) return "before";
  if (phase !== after) return "unclear";
  return (await ask(deps, { entry, without }, context)).length === 0 ? "after" : "unclear";
}

/** What members are to hold, and who is not asked. */
interface Wanted {
  readonly entry: TrustEntry;
  readonly without: readonly string[];
}

/** Asks until every member holds what the entry says, and notes who does. @throws TIMEOUT, CONFLICT when the entry has changed */
async function confirmed(deps: RotationDeps, wanted: Wanted, context: StepContext): Promise<{ generation: number }> {
  const { generation } = wanted.entry;
  const missing = await untilHeld(deps, wanted, context, CONFIRM_MS);
  if (missing.length === 0) return { generation };
  if ((await trustOf(deps)).generation !== generation)
    throw new DvError("CONFLICT", "What members are to believe was changed meanwhile.");
  throw new DvError("TIMEOUT", `Not every member has confirmed generation ${generation}: ${listOf(missing)}.`);
}

/** The same, but who does not answer is named instead. */
async function leniently(deps: RotationDeps, wanted: Wanted, context: StepContext): Promise<string[]> {
  return (await untilHeld(deps, wanted, context, LENIENT_MS)).map(({ said }) => said);
}

/** A member that does not hold what it is to hold. */
interface Missing {
  readonly isServer: boolean;
  /** Its name, and why. */
  readonly said: string;
}

function listOf(missing: readonly Missing[]): string {
  return missing.map(({ said }) => said).join("; ");
}

async function untilHeld(
  deps: RotationDeps,
  wanted: Wanted,
  context: StepContext,
  patienceMs: number,
): Promise<Missing[]> {
  const { clock, signal } = context;
  const deadline = clock.monotonic() + patienceMs;
  for (let pause = PAUSE_MS; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
    const missing = await ask(deps, wanted, context, timestamp(clock));
    signal.throwIfAborted();
    if (missing.length === 0 || clock.monotonic() >= deadline) return missing;
    await clock.sleep(pause, signal);
  }
}

/** Asks every member once. Returns who does not hold what the entry says, and why; with `notedAt` notes which workers do. */
async function ask(
  deps: RotationDeps,
  { entry, without }: Wanted,
  reader: Reader,
  notedAt?: string,
): Promise<Missing[]> {
  const members = [...(await deps.members.readMembers()).values()];
  const faults: Missing[] = [];
  const waiting = members.filter(({ id, state }) => state !== "removed" && !without.includes(id));
  const work = async () => {
    for (let member = waiting.shift(); member; member = waiting.shift()) {
      const fault = await faultOfMember(member, entry, reader);
      if (fault !== undefined) faults.push({ isServer: member.role === "server", said: `${member.name} ${fault}` });
      // A server notes it itself.
      else if (notedAt !== undefined && member.role !== "server")
        await deps.members.confirmTrust(member.id, entry.generation, notedAt);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return faults.sort((a, b) => (a.said < b.said ? -1 : 1));
}

async function faultOfMember({ id, role }: Member, entry: TrustEntry, reader: Reader): Promise<string | undefined> {
  const held = await holdingOf(id, entry, reader, ASK_MS);
  return typeof held === "string" ? held : faultOf(entry, role, held);
}

/** What a member says that it holds, after taking up what the entry says; a sentence when it does not answer. */
export async function holdingOf(
  id: string,
  { authorities, issuer }: TrustEntry,
  reader: Reader,
  timeoutMs: number,
): Promise<TrustHolding | string> {
  const wanted = { authorities: authorities.map(({ fingerprint }) => fingerprint), issuer };
  try {
    return await reader.request(id, trustContract, "getHolding", wanted, { timeoutMs });
  } catch (error) {
    reader.signal.throwIfAborted();
    // Neither the bus nor the member has said anything else: it is the engine's, or a bug.
    if (!(error instanceof DvError)) throw error;
    return `does not answer (${error.code})`;
  }
}

/** The same for every attempt of an operation, so that the event is stored once. */
function eventIdOf(operation: string): string {
  return createHash("sha256").update(`authority.rotated ${operation}`).digest("hex").slice(0, 32);
}
