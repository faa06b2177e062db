// SPDX-License-Identifier: Apache-2.0
/** Takes a node out of every selection. */
import type { discoveryContract, Node } from "@debvisor/proto-events/discovery";
import type { Input } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { disable } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";
import { changeNode } from "./change-node.ts";

export function disableNodeHandler({ store }: { store: RegistryStore }) {
  return (input: Input<typeof discoveryContract, "disableNode">, context: RequestContext): Promise<Node> =>
    changeNode(store, input.node, context, (record, live, view) =>
      disable(record, { reason: input.reason, actor: context.actor, at: view.time }, live),
    );
}
