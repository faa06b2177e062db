// SPDX-License-Identifier: Apache-2.0
/** The step that waits until no cache has what was there before the time to live was lowered. It can be cancelled at any moment. */
import type { StepKind } from "@debvisor/shared/operation/definition";
import type { WaitCount } from "../reconcilers/wait-count.ts";

/** Parameters of the step. */
export interface WaitParams {
  readonly seconds: number;
}

/** Beyond the wait itself, in milliseconds. */
const REST_MS = 10_000;

/** The step. */
export function waitTtlStep(count: WaitCount): StepKind<WaitParams> {
  return {
    timeoutMs: ({ seconds }) => seconds * 1_000 + REST_MS,
    do: ({ seconds }, context) => count.waitOut(seconds * 1_000, context),
    // The way back does not wait: what is there then is what was there before.
    undo: (_params, { order }) => count.forget(order),
    inspect: async ({ seconds }, { order }) => ((await count.isOver(order, seconds * 1_000)) ? "after" : "before"),
  };
}
