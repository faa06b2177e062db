// SPDX-License-Identifier: Apache-2.0
/** The order that came with a request to a node. */
import type { Order, RequestContext } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";

/** The order of a request. The bus answers COMMAND_REFUSED for one that lacks it, so it is never missing here. */
export function orderOf({ order }: Pick<RequestContext, "order">): Order {
  if (!order) throw new DvError("INTERNAL", "A request without an order came to an operation that needs one.");
  return order;
}
