// SPDX-License-Identifier: Apache-2.0
/**
 * The durable operations that begin and end maintenance, the gate that honours it, and its status. Services that want something
 * done on enabling (Ceph `noout`, cordon, moving machines) add a `MaintenanceAction`; its steps run with the operation's.
 */
import { randomBytes } from "node:crypto";
import { CLUSTER, type Maintenance, maintenanceContract } from "@debvisor/proto-events/maintenance";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import type {
  Definition,
  Draft,
  PlannedStep,
  Reader,
  StepContext,
  StepKind,
  TargetNode,
} from "@debvisor/shared/operation/definition";
import { durationMs } from "@debvisor/shared/operation/options";
import { targetOf } from "@debvisor/shared/operation/survey";
import { type MaintenanceStore, same } from "../reconcilers/maintenance-store.ts";

interface EnableInput {
  readonly node?: string;
  readonly cluster: boolean;
  readonly until?: string;
}

type DisableInput = Omit<EnableInput, "until">;

interface ModeParams {
  readonly target: string;
  readonly name: string;
  readonly before: Maintenance | null;
}

/** Something that another service wants done when a target goes into maintenance, and undone when it comes out. */
export interface MaintenanceAction {
  /** Key of its kind of step. */
  readonly name: string;
  readonly kind: StepKind<{ readonly target: string }>;
  /** What it will do, for the plan. */
  readonly title: (name: string) => string;
}

export interface MaintenanceDeps {
  readonly store: MaintenanceStore;
  readonly bus: Pick<Bus, "publishEvent">;
  readonly actions: readonly MaintenanceAction[];
}

const DEADLINE_MS = 3_600_000;
const STEP_MS = 10_000;

/** `maintenance.enable-maintenance`. */
export function enableMaintenanceDefinition(deps: MaintenanceDeps): Definition<EnableInput> {
  const { store, actions } = deps;
  return {
    type: "maintenance.enable-maintenance",
    spec: maintenanceContract.operations.enableMaintenance,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: async (input, reader, options) => {
      const at = placeOf(input, reader);
      if (input.until !== undefined) durationMs("until", input.until);
      const before = await store.get(at.target);
      const unchanged = before !== null && input.until === undefined && (options.reason ?? null) === before.reason;
      const after = `${options.reason ?? "no reason given"}${input.until === undefined ? "" : `, for ${input.until}`}`;
      const alongside = actions.map(({ name, title }) => ({ name, title: title(at.name) }));
      return draftOf(
        at,
        before,
        unchanged ? undefined : { title: `put ${at.name} into maintenance`, after, alongside },
      );
    },
    steps: { mode: enableStep(deps), ...Object.fromEntries(actions.map(({ name, kind }) => [name, kind])) },
  };
}

/** `maintenance.disable-maintenance`. Whoever may call it may end maintenance of anybody. */
export function disableMaintenanceDefinition(deps: MaintenanceDeps): Definition<DisableInput> {
  return {
    type: "maintenance.disable-maintenance",
    spec: maintenanceContract.operations.disableMaintenance,
    deadlineMs: DEADLINE_MS,
    respectsMaintenance: false,
    mask: (input) => ({ ...input }),
    plan: async (input, reader) => {
      const at = placeOf(input, reader);
      const before = await deps.store.get(at.target);
      const alongside = deps.actions.map(({ name, title }) => ({ name, title: `undo: ${title(at.name)}` }));
      const change = { title: `end maintenance of ${at.name}`, after: null, alongside };
      return draftOf(at, before, before === null ? undefined : change);
    },
    steps: {
      mode: modeStep(deps, () => null),
      ...Object.fromEntries(deps.actions.map(({ name, kind }) => [name, reversed(kind)])),
    },
  };
}

/** Where maintenance shall be: a node, or the cluster. */
interface Place {
  readonly node: TargetNode | undefined;
  readonly target: string;
  readonly name: string;
  readonly resource: string;
}

function placeOf({ node: ref, cluster }: DisableInput, reader: Reader): Place {
  if (cluster === (ref !== undefined))
    throw new DvError("INVALID_ARGUMENT", "Name a node, or say cluster for all of it; one of the two.");
  if (ref === undefined) return { node: undefined, target: CLUSTER, name: CLUSTER, resource: "cluster/maintenance" };
  const node = reader.node(ref);
  return { node, target: node.id, name: node.name, resource: `node/${node.id}/maintenance` };
}

function draftOf(
  { node, target, name, resource }: Place,
  before: Maintenance | null,
  change:
    | { title: string; after: string | null; alongside: readonly { readonly name: string; readonly title: string }[] }
    | undefined,
): Draft {
  const mode: ModeParams = { target, name, before };
  const step = (kind: string, title: string, params: unknown): PlannedStep => ({
    ...{ id: kind, kind, title, target: node?.id ?? null, params, resource },
  });
  return {
    targets: node ? [targetOf(node, change ? "change" : "unchanged")] : [],
    steps: change
      ? [step("mode", change.title, mode), ...change.alongside.map((one) => step(one.name, one.title, { target }))]
      : [],
    effects: change
      ? [
          {
            target: name === CLUSTER ? null : name,
            what: "maintenance",
            before: before && describe(before),
            after: change.after,
            diff: null,
          },
        ]
      : [],
    checks: [],
    resources: [resource],
    touches: [target],
    undo:
      change?.after === null
        ? "dvctl maintenance enable, or rollback of this operation"
        : `dvctl maintenance disable ${name}`,
    basis: { target, before },
  };
}

function describe({ holder, reason, until }: Maintenance): string {
  return `held by ${holder}: ${reason ?? "no reason given"}${until === null ? "" : `, until ${until}`}`;
}

function enableStep(deps: MaintenanceDeps): StepKind<ModeParams> {
  return modeStep(deps, ({ target, name }, { submission }) => {
    const { until } = submission.input as unknown as EnableInput;
    const since = submission.createdAt;
    const untilMs = until === undefined ? undefined : Date.parse(since) + durationMs("until", until);
    return {
      target,
      name,
      holder: submission.actor,
      user: submission.user,
      reason: submission.reason,
      operation: submission.id as Maintenance["operation"],
      since,
      until: untilMs === undefined ? null : new Date(untilMs).toISOString(),
    };
  });
}

function modeStep(
  { store, bus }: MaintenanceDeps,
  afterOf: (params: ModeParams, context: StepContext) => Maintenance | null,
): StepKind<ModeParams> {
  const change = async (params: ModeParams, context: StepContext, from: Maintenance | null, to: Maintenance | null) => {
    const { eventId } = await store.change({
      target: params.target,
      before: from,
      after: to,
      order: context.order,
      eventId: randomBytes(16).toString("hex"),
    });
    if (eventId !== null) await publish(bus, eventId, from, to, context.submission.actor);
    return { before: from, after: to };
  };
  return {
    timeoutMs: STEP_MS,
    do: (params, context) => change(params, context, params.before, afterOf(params, context)),
    undo: (params, context) => change(params, context, afterOf(params, context), params.before),
    inspect: async (params, context) => {
      const now = await store.get(params.target);
      if (same(now, afterOf(params, context))) return "after";
      return same(now, params.before) ? "before" : "unclear";
    },
  };
}

async function publish(
  bus: Pick<Bus, "publishEvent">,
  id: string,
  from: Maintenance | null,
  to: Maintenance | null,
  actor: string,
): Promise<void> {
  if (to) await bus.publishEvent(maintenanceContract, "mode.enabled", to, { subject: to.target, id, actor });
  else if (from)
    await bus.publishEvent(
      maintenanceContract,
      "mode.disabled",
      { ...from, by: actor },
      { subject: from.target, id, actor },
    );
}

function reversed(kind: StepKind<{ readonly target: string }>): StepKind<{ readonly target: string }> {
  if (kind.undo === "never") return { ...kind, do: () => Promise.resolve(null) };
  return {
    ...kind,
    do: kind.undo,
    undo: kind.do,
    inspect: async (params, context) => {
      const sight = await kind.inspect(params, context);
      if (sight === "unclear") return sight;
      return sight === "after" ? "before" : "after";
    },
  };
}
