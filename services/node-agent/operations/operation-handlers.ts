// SPDX-License-Identifier: Apache-2.0
/** Answers the contract `operation`: what the engine knows of operations and locks, and requests to it. */
import type { Input } from "@debvisor/proto-events/kit";
import { Lock, OperationSummary, type operationContract } from "@debvisor/proto-events/operation";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import type { Engine } from "@debvisor/shared/operation/engine";
import type { ControlVerb } from "@debvisor/shared/operation/log-record";

type C = typeof operationContract;
type Control = Input<C, "cancelOperation">;

const OPERATIONS = {
  fields: fieldsOf(OperationSummary),
  aliases: { target: "targets" },
  id: ({ id }: OperationSummary) => id,
  sort: "-createdAt",
};
const LOCKS = { fields: fieldsOf(Lock), id: ({ resource }: Lock) => resource.slice(0, 64), sort: "resource" };

/** Handlers for every operation of the contract. */
export function operationHandlers(engine: Engine) {
  const control =
    (request: ControlVerb) =>
    (input: Control, { actor, user }: RequestContext) =>
      engine.control(input.operation, request, {
        by: actor,
        user: user ?? null,
        reason: input.reason ?? null,
        revision: input.revision,
      });
  return {
    listOperations: (input: Input<C, "listOperations">) => paginate(engine.list(), input, OPERATIONS),
    getOperation: ({ operation }: Input<C, "getOperation">) => engine.get(operation),
    waitOperation: ({ operation, seconds, after }: Input<C, "waitOperation">, { signal }: RequestContext) =>
      engine.wait(operation, { after, ms: seconds * 1_000, signal }),
    cancelOperation: control("cancel"),
    pauseOperation: control("pause"),
    continueOperation: control("continue"),
    confirmOperation: control("confirm"),
    rollbackOperation: control("rollback"),
    retryOperation: ({ operation }: Control, context: RequestContext) => engine.retry(operation, context),
    explainOperation: async ({ operation }: Input<C, "explainOperation">) => ({
      operation,
      ...(await engine.explain(operation)),
    }),
    listLocks: (input: Input<C, "listLocks">) => paginate([...engine.locks()], input, LOCKS),
  };
}
