// SPDX-License-Identifier: Apache-2.0
/** The durable operations that disable and enable a node: one mark in the registry, set by compare-and-set and read back. */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, Draft, Reader, StepContext, StepKind } from "@debvisor/shared/operation/definition";
import { targetOf } from "@debvisor/shared/operation/survey";
import { decideMark, isMeant, type Mark, type MarkChange, said, sameMark } from "../model/mark.ts";
import type { NodeRecord } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

/** What the definitions work with. */
export interface MarkDeps {
  readonly store: RegistryStore;
}

interface MarkInput {
  readonly node: string;
}

interface MarkParams {
  readonly node: string;
  readonly registeredAt: string;
  readonly before: Mark;
}

const DEADLINE_MS = 600_000;
const STEP_MS = 10_000;

/** `discovery.disable-node`. A node that is disabled already stays as it is, with the reason that was given first. */
export function disableNodeDefinition({ store }: MarkDeps): Definition<MarkInput> {
  return {
    type: "discovery.disable-node",
    spec: discoveryContract.operations.disableNode,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: async ({ node }, reader, { reason }) => {
      if (reason === undefined) throw new DvError("INVALID_ARGUMENT", "reason: say why the node is disabled.");
      const record = await recordOf(store, node, reader);
      return draftOf(record, reader, {
        change: record.disabled === null,
        title: `disable ${record.name}`,
        after: `disabled: ${reason}`,
        undo: `dvctl nodes enable ${record.name}, or rollback of this operation`,
      });
    },
    steps: {
      mark: markStep(store, (_params, { submission: { reason, actor, createdAt } }) => ({
        reason: reason ?? "",
        actor,
        at: createdAt,
      })),
    },
  };
}

/** `discovery.enable-node`. */
export function enableNodeDefinition({ store }: MarkDeps): Definition<MarkInput> {
  return {
    type: "discovery.enable-node",
    spec: discoveryContract.operations.enableNode,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: async ({ node }, reader) => {
      const record = await recordOf(store, node, reader);
      return draftOf(record, reader, {
        change: record.disabled !== null,
        title: `enable ${record.name}`,
        after: "as its heartbeats say",
        undo: `dvctl nodes disable ${record.name} --reason TEXT, or rollback of this operation`,
      });
    },
    steps: { mark: markStep(store, () => null) },
  };
}

/** The lock that everything takes which changes a node's registry entry. */
export function registryResource(id: string): string {
  return `node/${id}/registry`;
}

/** The entry as the bucket has it. @throws NODE_NOT_FOUND, BUS_UNAVAILABLE */
async function recordOf(store: RegistryStore, ref: string, reader: Reader): Promise<NodeRecord> {
  const { id } = reader.node(ref);
  const record = await store.read(id);
  if (!record || record.deleted) throw new DvError("NODE_NOT_FOUND", `Node ${ref} was deleted meanwhile.`);
  return record;
}

function draftOf(
  record: NodeRecord,
  reader: Reader,
  { change, title, after, undo }: { change: boolean; title: string; after: string; undo: string },
): Draft {
  const { id, name, registeredAt, disabled: before } = record;
  const resource = registryResource(id);
  const params: MarkParams = { node: id, registeredAt, before };
  return {
    targets: [targetOf(reader.node(id), change ? "change" : "unchanged")],
    steps: change ? [{ id: "mark", kind: "mark", title, target: id, params, resource }] : [],
    effects: change ? [{ target: name, what: "state", before: said(before), after, diff: null }] : [],
    checks: [],
    resources: [resource],
    undo,
    basis: { node: id, registeredAt, mark: before },
  };
}

function markStep(
  store: RegistryStore,
  afterOf: (params: MarkParams, context: StepContext) => Mark,
): StepKind<MarkParams> {
  const change = async ({ node, registeredAt }: MarkParams, context: StepContext, from: Mark, to: Mark) => {
    const { order, submission } = context;
    await setMark(store, node, { registeredAt, from, to, order }, submission.actor);
    return { before: from, after: to };
  };
  return {
    timeoutMs: STEP_MS,
    do: (params, context) => change(params, context, params.before, afterOf(params, context)),
    undo: (params, context) => change(params, context, afterOf(params, context), params.before),
    inspect: async (params, context) => {
      const record = await store.read(params.node);
      // Of a node that is gone nothing is left of what this step did.
      if (!isMeant(record, params.registeredAt) || sameMark(record.disabled, params.before)) return "before";
      return sameMark(record.disabled, afterOf(params, context)) ? "after" : "unclear";
    },
  };
}

/** @throws COMMAND_FENCED, CONFLICT, BUS_UNAVAILABLE */
async function setMark(store: RegistryStore, node: string, change: MarkChange, actor: string): Promise<void> {
  await store.change(
    node,
    (record) => {
      const decision = decideMark(record, change, store.live(node), store.view());
      if (decision.kind === "refused") throw new DvError(decision.code, decision.why);
      return decision.kind === "write" ? decision.outcome : undefined;
    },
    { actor },
    { fresh: true },
  );
}
