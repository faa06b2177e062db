// SPDX-License-Identifier: Apache-2.0
/** `dvctl operations show ID`: the command of the contract, drawn as a record with targets, steps and effects. */
import { operationContract } from "@debvisor/proto-events/operation";
import { deriveOne } from "../derive.ts";
import { readOperation } from "../operation-follow.ts";
import { drawOperation } from "../operation-text.ts";

export const operationsShow = deriveOne(operationContract.operations.getOperation, (reply, _cli, { output }) => {
  const draw = () => drawOperation(readOperation(reply).operation, { color: output.color, nowMs: Date.now() });
  output.result(reply.body, draw, reply.text);
});
