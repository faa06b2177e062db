// SPDX-License-Identifier: Apache-2.0
/**
 * Answers the contract `operation`: what the engine knows of operations and locks, and requests to it. Lists, waits and controls
 * need the log alone, which every engine follows; what needs the engine that knows the type is passed on to the one that has it.
 */
import { type EngineContract, engineOf } from "@debvisor/proto-events/engine";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { Lock, OperationSummary, type operationContract } from "@debvisor/proto-events/operation";
import { CORE } from "@debvisor/proto-events/subjects";
import type { Bus, CallOptions, RequestContext } from "@debvisor/shared/bus/bus";
import { toDvError } from "@debvisor/shared/errors";
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
export function operationHandlers(engine: Engine, bus: Pick<Bus, "request">) {
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
    retryOperation: async ({ operation }: Control, context: RequestContext) => {
      const owner = engineOf((await engine.get(operation)).type);
      if (!owner) return await engine.retry(operation, context);
      return await bus.request(CORE, owner, "retryOperation", { operation }, aboutOf(context));
    },
    explainOperation: async ({ operation }: Input<C, "explainOperation">, context: RequestContext) => {
      const owner = engineOf((await engine.get(operation)).type);
      const asked = owner && (await explanation(bus, owner, operation, context));
      return asked ?? { operation, ...(await engine.explain(operation)) };
    },
    listLocks: (input: Input<C, "listLocks">) => paginate([...engine.locks()], input, LOCKS),
  };
}

function aboutOf({ requestId, actor, user, source, operation }: RequestContext): CallOptions {
  return { requestId, actor, user, source, operation };
}

/** What the engine says that knows the type; undefined while none answers: then the log alone has to do. */
async function explanation(
  bus: Pick<Bus, "request">,
  owner: EngineContract,
  operation: string,
  context: RequestContext,
): Promise<Output<C, "explainOperation"> | undefined> {
  try {
    return await bus.request(CORE, owner, "explainOperation", { operation }, aboutOf(context));
  } catch (error) {
    if (["unavailable", "timeout"].includes(toDvError(error).kind)) return undefined;
    throw error;
  }
}
