// SPDX-License-Identifier: Apache-2.0
/** Says how a service of this host is. */
import type { hostContract } from "@debvisor/proto-events/host";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { ServiceManager } from "../model/unit-state.ts";

type C = typeof hostContract;

/** Asks the service manager. */
export function getUnitHandler({ manager }: { readonly manager: ServiceManager }) {
  return ({ unit }: Input<C, "getUnit">, { signal }: Pick<RequestContext, "signal">): Promise<Output<C, "getUnit">> =>
    manager.get(unit, signal);
}
