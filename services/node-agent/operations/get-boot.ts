// SPDX-License-Identifier: Apache-2.0
/** Says since when this host has been up, and how its services are. */
import type { hostContract } from "@debvisor/proto-events/host";
import type { Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { ServiceManager } from "../model/unit-state.ts";

/** Asks the service manager. */
export function getBootHandler({ manager }: { readonly manager: ServiceManager }) {
  return async (
    _input: unknown,
    { signal }: Pick<RequestContext, "signal">,
  ): Promise<Output<typeof hostContract, "getBoot">> => {
    const [boot, units] = await Promise.all([manager.boot(signal), manager.list(signal)]);
    return { ...boot, units: [...units] };
  };
}
