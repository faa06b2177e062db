// SPDX-License-Identifier: Apache-2.0
/** Makes a disabled node a target again. */
import type { discoveryContract, Node } from "@debvisor/proto-events/discovery";
import type { Input } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { enable } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";
import { changeNode } from "./change-node.ts";

export function enableNodeHandler({ store }: { store: RegistryStore }) {
  return (input: Input<typeof discoveryContract, "enableNode">, context: RequestContext): Promise<Node> =>
    changeNode(store, input.node, context, enable);
}
