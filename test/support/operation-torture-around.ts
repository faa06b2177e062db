// SPDX-License-Identifier: Apache-2.0
/** Gets in the way of the steps of a definition: before and after what they do, undo and look at. */
import { DvError } from "@debvisor/shared/errors";
import type { Definition, StepContext, StepKind } from "@debvisor/shared/operation/definition";

/** A call of a step. `context` is what the step was given, so that a test can call it again later. */
export interface StepCall {
  readonly type: string;
  readonly kind: string;
  readonly step: string;
  readonly direction: "do" | "undo" | "inspect";
  readonly context: StepContext;
  /** Calls the `do` of the same step again, with a context of before. */
  readonly again: (context: StepContext) => Promise<unknown>;
}

/** What is done instead of `real`; it decides whether and how often that is called. */
export type Around = (call: StepCall, real: () => Promise<unknown>) => Promise<unknown>;

/** The definition with something around every step, and if wanted another longest time of an attempt, in milliseconds. */
export function withAround(definition: Definition<never>, around: Around, timeoutMs?: number): Definition<never> {
  const steps = Object.entries(definition.steps).map(([kind, step]) => {
    const timed = timeoutMs === undefined ? step : { ...step, timeoutMs, patienceMs: 30_000 };
    return [kind, aroundKind(definition, kind, timed, around)];
  });
  return { ...definition, steps: Object.fromEntries(steps) as Definition<never>["steps"] };
}

function aroundKind({ type }: Definition<never>, kind: string, step: StepKind<never>, around: Around): StepKind<never> {
  const { undo } = step;
  const wrap =
    (direction: StepCall["direction"], real: (params: never, context: StepContext) => Promise<unknown>) =>
    (params: never, context: StepContext) => {
      const again = (earlier: StepContext) => step.do(params, earlier);
      const call = { type, kind, step: context.order.step, direction, context, again };
      return around(call, () => real(params, context));
    };
  return {
    ...step,
    do: wrap("do", step.do),
    undo: undo === "never" ? undo : wrap("undo", undo),
    inspect: wrap("inspect", step.inspect) as StepKind<never>["inspect"],
  };
}

/** What a step throws that failed. */
export function failed(when: string): DvError {
  return new DvError("TOOL_FAILED", `The test lets it fail ${when}.`);
}
