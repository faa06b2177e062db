// SPDX-License-Identifier: Apache-2.0
/** Enters a node by hand. */
import type { discoveryContract, Node } from "@debvisor/proto-events/discovery";
import type { Input } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { register, toNode } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

export function registerNodeHandler({ store }: { store: RegistryStore }) {
  return async (
    input: Input<typeof discoveryContract, "registerNode">,
    { actor, requestId }: RequestContext,
  ): Promise<Node> => {
    store.requireReady();
    const wanted = { ...input, rack: input.rack ?? null, zone: input.zone ?? null };
    const record = await store.change(
      input.id,
      (current) => {
        if (current?.deleted) throw new DvError("CONFLICT", `Node ${input.id} is being deleted; try again.`);
        const outcome = register(current, wanted, store.view());
        if (outcome === "taken") {
          throw new DvError("NODE_NAME_TAKEN", `The name ${input.name} is taken.`, { details: { name: input.name } });
        }
        return outcome;
      },
      { actor, requestId },
    );
    if (!record) throw new DvError("INTERNAL", "The node was not written.");
    return toNode(record, store.live(record.id));
  };
}
