// SPDX-License-Identifier: Apache-2.0
/** What running an operation needs of the world around it. Everything that can fail or be slow is here, so that a test can break it. */
import type { AuditEmitter } from "../audit/emitter.ts";
import type { Bus } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import type { Logger } from "../log.ts";
import type { Definition, Reader } from "./definition.ts";
import type { LockTable } from "./lock-table.ts";
import type { FullPlan } from "./planning.ts";
import type { Directory } from "./reader.ts";
import type { Patience } from "./step-runner.ts";

export interface RunnerDeps {
  readonly definition: Definition<never>;
  readonly bus: Pick<Bus, "command">;
  readonly locks: LockTable;
  readonly audit: AuditEmitter;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly patience: Patience;
  /** Longest wait for locks in milliseconds; undefined: a held lock refuses. */
  readonly waitMs: number | undefined;
  readonly reader: (signal: AbortSignal) => Reader;
  /** Makes the plan anew. @throws as the definition's plan */
  readonly replan: (signal: AbortSignal) => Promise<FullPlan>;
}
