// SPDX-License-Identifier: Apache-2.0
/**
 * What a service that hosts an engine of its own answers to the node agent, which answers the contract `operation` for everybody.
 * Reading and steering need only the log, which every engine sees; trying again and explaining need the engine that knows the type.
 */

import { z } from "zod";
import { Operation, OperationState } from "./durable.ts";
import { contract, operation } from "./kit.ts";
import { Wait } from "./operation.ts";
import { OperationId } from "./primitives.ts";

/** The contract of a service's engine; one for each service besides the node agent that runs durable operations. */
function engineContract(host: string) {
  const service = `${host}-engine`;
  const input = z.strictObject({ operation: OperationId.describe("Id of an operation of that service.") });
  return contract({
    service,
    summary: `What the engine of ${host} answers to the node agent about its own operations.`,
    implementedBy: host,
    operations: {
      retryOperation: operation({
        summary: "Run an operation of this engine again for the targets on which it failed.",
        scope: "core",
        effect: "change",
        idempotent: true,
        timeoutMs: 7_000,
        permission: `${service}:operation:retry`,
        input,
        output: Operation,
        errors: ["OPERATION_NOT_FOUND", "OPERATION_STATE"],
        http: null,
        cli: null,
      }),
      explainOperation: operation({
        summary: "Say what an operation of this engine waits for.",
        scope: "core",
        effect: "read",
        idempotent: true,
        timeoutMs: 2_500,
        permission: `${service}:operation:explain`,
        input,
        output: z.object({ operation: OperationId, state: OperationState, waits: z.array(Wait) }),
        errors: ["OPERATION_NOT_FOUND"],
        http: null,
        cli: null,
      }),
    },
    events: {},
  });
}

/** The contract of any such engine. */
export type EngineContract = ReturnType<typeof engineContract>;

/** The engine of discovery: operations on the registry and on membership. */
export const discoveryEngineContract: EngineContract = engineContract("discovery");

/** The engine of dns: changes of records. */
export const dnsEngineContract: EngineContract = engineContract("dns");

/** Engines besides the node agent's, by the service that hosts them. */
export const ENGINES: Readonly<Record<string, EngineContract>> = {
  discovery: discoveryEngineContract,
  dns: dnsEngineContract,
};

/** Contracts of other names whose durable operations such an engine runs, and the service that hosts it. */
const HOSTS: Readonly<Record<string, string>> = { cluster: "discovery" };

/** The contract of the engine that runs a type such as `discovery.disable-node`; undefined: the node agent's own does. */
export function engineOf(type: string): EngineContract | undefined {
  const [service = ""] = type.split(".");
  return ENGINES[HOSTS[service] ?? service];
}
