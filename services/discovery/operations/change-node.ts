// SPDX-License-Identifier: Apache-2.0
/** What operations on one registered node have in common: find it, decide on its newest record, answer with the result. */
import type { Node } from "@debvisor/proto-events/discovery";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { type Live, type NodeRecord, type Outcome, toNode, type View } from "../model/registry.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

/** Changes the node that `ref` names. @throws NODE_NOT_FOUND, and what `decide` throws */
export async function changeNode(
  store: RegistryStore,
  ref: string,
  { actor, requestId }: RequestContext,
  decide: (record: NodeRecord, live: Live | undefined, view: View) => Outcome | undefined,
): Promise<Node> {
  const { id } = store.find(ref);
  const live = () => store.live(id);
  const change = (record: NodeRecord | undefined) => {
    if (!record || record.deleted) throw new DvError("NODE_NOT_FOUND", `Node ${ref} was deleted meanwhile.`);
    return decide(record, live(), store.view());
  };
  const record = await store.change(id, change, { actor, requestId });
  if (!record) throw new DvError("NODE_NOT_FOUND", `Node ${ref} was deleted meanwhile.`);
  return toNode(record, live());
}
