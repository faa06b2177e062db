// SPDX-License-Identifier: Apache-2.0
/** Lists nodes from the registry in memory. */
import { type discoveryContract, Node } from "@debvisor/proto-events/discovery";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import { asOfNow, type NodeRecord, toNode } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

type Contract = typeof discoveryContract;

const LIST = {
  fields: fieldsOf(Node),
  aliases: { role: "roles", address: "addresses" },
  id: ({ id }: Node) => id,
  sort: "name",
};

export function listNodesHandler({ store }: { store: RegistryStore }) {
  return (input: Input<Contract, "listNodes">): Output<Contract, "listNodes"> => {
    store.requireReady();
    const view = store.view();
    const shown = (record: NodeRecord) => {
      const live = store.live(record.id);
      return toNode(asOfNow(record, live, view), live);
    };
    const nodes = store.records().filter(({ deleted }) => !deleted);
    return paginate(nodes.map(shown), input, LIST);
  };
}
