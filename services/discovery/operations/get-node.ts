// SPDX-License-Identifier: Apache-2.0
/** Shows one node by id or name. */
import type { discoveryContract, Node } from "@debvisor/proto-events/discovery";
import type { Input } from "@debvisor/proto-events/kit";
import { asOfNow, toNode } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

export function getNodeHandler({ store }: { store: RegistryStore }) {
  return ({ node }: Input<typeof discoveryContract, "getNode">): Node => {
    const record = store.find(node);
    const live = store.live(record.id);
    return toNode(asOfNow(record, live, store.view()), live);
  };
}
