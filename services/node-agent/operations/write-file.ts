// SPDX-License-Identifier: Apache-2.0
/** Brings a file of this host into a state, or back, by order of the engine; once for each step, however often it is asked. */
import { randomBytes } from "node:crypto";
import type { hostContract } from "@debvisor/proto-events/host";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { Order, RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Ledger } from "@debvisor/shared/operation/ledger";
import type { HostFileWriter } from "../drivers/host-files-write.ts";
import { type FileStep, sameState } from "../model/file-step.ts";
import type { HostEvents } from "../reconcilers/host-events.ts";
import { wantedFile } from "./get-file.ts";
import { orderOf } from "./order-of.ts";
import { createTurns } from "./turns.ts";

type C = typeof hostContract;
type Answer = Output<C, "writeFile">;

/** What the ledger keeps: the answer, and the id of its event, which is the same whenever the step is asked again. */
interface Recorded extends Answer {
  readonly event: string;
}

/** What writing files needs. */
export interface WriteFileDeps {
  readonly files: HostFileWriter;
  readonly ledger: Pick<Ledger, "execute">;
  readonly clock: Clock;
  readonly events: Pick<HostEvents, "fileChanged">;
}

/** The handler. A repeat of a step answers what the ledger recorded. */
export function writeFileHandler(deps: WriteFileDeps) {
  const inTurn = createTurns();
  return async (input: Input<C, "writeFile">, context: Pick<RequestContext, "order">): Promise<Answer> => {
    const order = orderOf(context);
    // Whatever captures the state before must see the end of the change before.
    const { event, ...answer } = await inTurn(input.path, () => execute(deps, input, order));
    if (answer.changed) {
      const { before, after, backup } = answer;
      deps.events.fileChanged({ path: input.path, before, after, backup }, event);
    }
    return answer;
  };
}

function execute(
  { files, ledger, clock }: WriteFileDeps,
  { path, target }: Input<C, "writeFile">,
  order: Order,
): Promise<Recorded> {
  const wanted = wantedFile(target);
  const stamp = { operation: order.operation, step: order.step, timeMs: clock.now() };
  return ledger.execute<FileStep, Recorded>(order, {
    before: () => files.prepare(path, wanted, stamp),
    apply: async (step) => {
      requirePath(step, path);
      await files.apply(step, wanted?.content);
      return recorded(step);
    },
    undo: async (step) => {
      requirePath(step, path);
      await files.undo(step);
      return recorded({ ...step, before: step.after, after: step.before, backup: null });
    },
    nothing: async () => {
      const { state } = await files.read(path);
      return { before: state, after: state, backup: null, changed: false, event: newEventId() };
    },
  });
}

function recorded({ before, after, backup }: FileStep): Recorded {
  return { before, after, backup, changed: !sameState(before, after), event: newEventId() };
}

function newEventId(): string {
  return randomBytes(16).toString("hex");
}

function requirePath({ path: begun }: FileStep, path: string): void {
  if (begun !== path)
    throw new DvError("CONFLICT", `This step began with ${begun} and cannot go on with ${path}.`, {
      details: { begun, path },
    });
}
