// SPDX-License-Identifier: Apache-2.0
/**
 * The steps of a rotation (ADR-0026). Each goes one phase on, or back, by compare-and-set on the ring of keys; what servers are to have
 * follows from the ring. Repeating a step writes the same files again and asks the same questions.
 */
import { createHash, randomBytes } from "node:crypto";
import { dnsContract } from "@debvisor/proto-events/dns";
import type { KeyPurpose } from "@debvisor/proto-events/dns-data";
import type { RotationResult } from "@debvisor/proto-events/dns-keys";
import type { OperationId } from "@debvisor/proto-events/primitives";
import { timestamp } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Sight, StepContext, StepKind } from "@debvisor/shared/operation/definition";
import type { TsigSecret } from "../drivers/bind.ts";
import {
  decideAt,
  decideEnd,
  decideForget,
  decideMake,
  decidePhase,
  type Holding,
  type KeyRing,
  keyNameOf,
  type RingDecision,
  type RotationPhase,
} from "../model/key-ring.ts";
import {
  deploy,
  holds,
  managedServers,
  type RotateDeps,
  unknownAt,
  verifyCopied,
  verifyRefused,
  verifyTaken,
} from "./key-deploy.ts";

/** What every step of a rotation is given. */
export interface KeyParams {
  readonly purposes: readonly KeyPurpose[];
  readonly overlapMs: number;
  /** Id of the operation whose rotation this finishes; null: its own. */
  readonly finishes: string | null;
}

const STEP_MS = 60_000;
/** How long a node may be away while new keys come. */
const PATIENCE_MS = 20_000;
/** The removal goes on: a server that is away for a moment must not leave the old key in force. */
const REMOVE_PATIENCE_MS = 180_000;
const SECRET_BYTES = 32;
const ALGORITHM = "hmac-sha256";

/** The kinds of steps, by the key that plans name. */
export function keySteps(deps: RotateDeps) {
  return {
    make: makeStep(deps),
    deploy: deployStep(deps),
    switch: switchStep(deps),
    wait: waitStep(deps),
    remove: removeStep(deps),
  };
}

function makeStep(deps: RotateDeps): StepKind<KeyParams> {
  return {
    timeoutMs: STEP_MS,
    do: async ({ purposes }, context) => {
      await change(deps, context, (ring) => decideMake(ring, idOf(context), purposes));
      return null;
    },
    undo: async (_params, context) => {
      await change(deps, context, (ring) => decideForget(ring, idOf(context)));
    },
    inspect: async (_params, context) => {
      const { ring } = await deps.store.view();
      return ring.rotation?.operation === idOf(context) ? "after" : "before";
    },
  };
}

function deployStep(deps: RotateDeps): StepKind<KeyParams> {
  return {
    timeoutMs: STEP_MS,
    patienceMs: PATIENCE_MS,
    do: async (_params, context) => {
      await change(deps, context, (ring) => decideAt(ring, idOf(context), ["made", "deployed"]));
      await write(deps, "both", context);
      await change(deps, context, (ring) => phase(ring, context, "made", "deployed"));
      return null;
    },
    undo: async (_params, context) => {
      const ring = await change(deps, context, (now) => phase(now, context, "deployed", "made"));
      await deploy(deps, await deps.store.view(), "old", context);
      await verifyRefused(deps, await deps.store.view(), (purpose) => ring.rotation?.next[purpose], context);
    },
    inspect: (_params, context) => look(deps, context, { before: "made", after: "deployed", held: ["old", "both"] }),
  };
}

function switchStep(deps: RotateDeps): StepKind<KeyParams> {
  return {
    timeoutMs: STEP_MS,
    patienceMs: PATIENCE_MS,
    do: async (_params, context) => {
      await change(deps, context, (ring) => phase(ring, context, "deployed", "switched"));
      await deploy(deps, await deps.store.view(), "both", context);
      await verifyCopied(deps, await deps.store.view(), context);
      return null;
    },
    undo: async (_params, context) => {
      await change(deps, context, (ring) => phase(ring, context, "switched", "deployed"));
      await deploy(deps, await deps.store.view(), "both", context);
    },
    inspect: (_params, context) =>
      look(deps, context, { before: "deployed", after: "switched", held: ["both", "both"] }),
  };
}

function waitStep(deps: RotateDeps): StepKind<KeyParams> {
  return {
    timeoutMs: ({ overlapMs }) => overlapMs + STEP_MS,
    do: async ({ overlapMs }, context) => {
      const { clock, signal } = context;
      const { ring } = await deps.store.view();
      const since = Date.parse(ring.rotation?.switchedAt ?? "") || clock.now();
      // A clock that was set meanwhile makes it no longer than asked for.
      const left = Math.min(overlapMs, since + overlapMs - clock.now());
      if (left > 0) await clock.sleep(left, signal);
      signal.throwIfAborted();
      await change(deps, context, (now) => phase(now, context, "switched", "waited"));
      return null;
    },
    undo: async (_params, context) => {
      await change(deps, context, (ring) => phase(ring, context, "waited", "switched"));
    },
    inspect: (_params, context) => look(deps, context, { before: "switched", after: "waited", held: ["both", "both"] }),
  };
}

function removeStep(deps: RotateDeps): StepKind<KeyParams> {
  return {
    timeoutMs: STEP_MS,
    patienceMs: REMOVE_PATIENCE_MS,
    undo: "never",
    seals: true,
    do: async ({ finishes, purposes }, context) => {
      const id = finishes ?? idOf(context);
      await deps.guard.pass(context.order, context.clock);
      const { ring } = await deps.store.view();
      if (ring.rotation?.operation !== id) return await tell(deps, ring, id, purposes, context);
      const begun = await change(deps, context, (now) =>
        decidePhase(now, id, { from: "waited", to: "removing", at: "" }),
      );
      await write(deps, "new", context).catch((error: unknown) => {
        const { code, message } = toDvError(error);
        // A BIND that is just being started is no reason to stop half-way.
        throw code === "TOOL_FAILED" ? unknownAt({ name: "A server" }, message) : error;
      });
      const gone = (purpose: KeyPurpose) => (begun.rotation?.next[purpose] ? begun.keys[purpose] : undefined);
      await verifyRefused(deps, await deps.store.view(), gone, context);
      const answer = await tell(deps, begun, id, purposes, context);
      await change(deps, context, (now) => decideEnd(now, id));
      return answer;
    },
    inspect: async ({ finishes, purposes }, context) => {
      const id = finishes ?? idOf(context);
      const view = await deps.store.view();
      if (view.ring.rotation?.operation === id) return view.ring.rotation.phase === "waited" ? "before" : "unclear";
      const isInForce = purposes.every((purpose) => view.ring.keys[purpose] === keyNameOf(purpose, id));
      return isInForce && (await holds(view, "old", context)) ? "after" : "unclear";
    },
  };
}

function idOf({ submission }: StepContext): OperationId {
  return submission.id as OperationId;
}

function phase(ring: KeyRing, context: StepContext, from: RotationPhase, to: RotationPhase): RingDecision {
  return decidePhase(ring, idOf(context), { from, to, at: timestamp(context.clock) });
}

/** Changes the ring by an order that is not over. @throws COMMAND_FENCED, CONFLICT, BUS_UNAVAILABLE */
async function change(
  { store, guard }: RotateDeps,
  { order, clock, submission }: StepContext,
  decide: (ring: KeyRing) => RingDecision,
): Promise<KeyRing> {
  const by = { actor: submission.actor, at: timestamp(clock) };
  const pass = () => guard.pass(order, clock);
  return await store.changeRing(decide, newKey, by, { undoes: order.direction === "undo", pass });
}

function newKey(name: string): TsigSecret {
  return { name, algorithm: ALGORITHM, secret: randomBytes(SECRET_BYTES).toString("base64") };
}

/** Writes the files by the ring as it is now, and has the servers show that they take the keys. */
async function write(deps: RotateDeps, holding: Holding, context: StepContext): Promise<void> {
  const view = await deps.store.view();
  await deploy(deps, view, holding, context);
  await verifyTaken(deps, view, holding, context);
}

interface Looked {
  readonly before: RotationPhase;
  readonly after: RotationPhase;
  /** What servers hold before and after. */
  readonly held: readonly [Holding, Holding];
}

async function look(deps: RotateDeps, context: StepContext, { before, after, held }: Looked): Promise<Sight> {
  const view = await deps.store.view();
  const { rotation } = view.ring;
  if (rotation?.operation !== idOf(context)) return "before";
  if (rotation.phase !== before && rotation.phase !== after) return "unclear";
  const sight = rotation.phase === before ? "before" : "after";
  return (await holds(view, sight === "before" ? held[0] : held[1], context)) ? sight : "unclear";
}

/** Says what was replaced; the same for every attempt, so that it is stored once. */
async function tell(
  { bus, store }: RotateDeps,
  ring: KeyRing,
  id: string,
  purposes: readonly KeyPurpose[],
  { submission }: StepContext,
): Promise<RotationResult> {
  const servers = managedServers(await store.view());
  const keys = purposes.map((purpose) => ({
    purpose,
    before: ring.rotation?.operation === id ? (ring.keys[purpose] ?? null) : null,
    after: keyNameOf(purpose, id),
  }));
  for (const { purpose, before, after } of keys) {
    if (ring.rotation?.operation !== id) break;
    const own = servers.filter(({ role }) => role === "primary" || purpose === "transfer").map(({ name }) => name);
    await bus.publishEvent(
      dnsContract,
      "key.rotated",
      { operation: id as OperationId, purpose, before, after, servers: own, actor: submission.actor },
      { subject: after, id: eventIdOf(id, purpose), actor: submission.actor },
    );
  }
  return { keys, servers: servers.map(({ name }) => name) };
}

function eventIdOf(operation: string, purpose: KeyPurpose): string {
  return createHash("sha256").update(`key.rotated ${operation} ${purpose}`).digest("hex").slice(0, 32);
}
