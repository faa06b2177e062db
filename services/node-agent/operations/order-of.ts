// SPDX-License-Identifier: Apache-2.0
/** What handlers of orders share: the order that came with the request, and how one ends that is cut short. */
import type { Order, RequestContext } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";

/** The order of a request. The bus answers COMMAND_REFUSED for one that lacks it, so it is never missing here. */
export function orderOf({ order }: Pick<RequestContext, "order">): Order {
  if (!order) throw new DvError("INTERNAL", "A request without an order came to an operation that needs one.");
  return order;
}

/** Runs an order until the signal aborts; what fails then is UNAVAILABLE, so that the engine asks again. */
export async function untilAborted<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!signal.aborted || toDvError(error).code !== "TOOL_FAILED") throw error;
    throw new DvError("UNAVAILABLE", "The node agent stops, or the time is over; ask again.", { cause: error });
  }
}
