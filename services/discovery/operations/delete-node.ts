// SPDX-License-Identifier: Apache-2.0
/** Removes a silent node from the registry. */
import type { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { remove } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";
import { changeNode } from "./change-node.ts";

type Contract = typeof discoveryContract;

export function deleteNodeHandler({ store }: { store: RegistryStore }) {
  return async (
    { node, reason }: Input<Contract, "deleteNode">,
    context: RequestContext,
  ): Promise<Output<Contract, "deleteNode">> => {
    const { id } = await changeNode(store, node, context, (record, live, view) => {
      const outcome = remove(record, live, view, reason);
      if (outcome === "alive")
        throw new DvError("NODE_ALIVE", `Node ${record.name} is ${record.state} and not silent.`, {
          details: { state: record.state },
        });
      if (outcome === "unknown")
        throw new DvError(
          "NODE_ALIVE",
          `It is too early to tell whether node ${record.name} is silent; try again in some seconds.`,
        );
      return outcome;
    });
    return { id, deleted: true };
  };
}
