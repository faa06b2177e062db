// SPDX-License-Identifier: Apache-2.0
/** `dvctl nodes accept`: the command of the contract, with a word on what to type where. */
import { clusterContract } from "@debvisor/proto-events/cluster";
import { renderRecord } from "@debvisor/shared/table";
import { deriveOne } from "../derive.ts";

const { acceptNode } = clusterContract.operations;

export const nodesAccept = deriveOne(acceptNode, ({ body, text }, _cli, { output }) => {
  output.result(body, () => renderRecord(body, { color: output.color, nowMs: Date.now() }), text);
  const { code, addresses = [] } = body as { readonly code?: string; readonly addresses?: readonly string[] };
  const where = addresses[0] === undefined ? "" : `, or where multicast does not pass --address ${addresses[0]}`;
  output.info(`at the machine that waits: debvisor-join --code ${code ?? ""}${where}`);
});
