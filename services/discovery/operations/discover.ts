// SPDX-License-Identifier: Apache-2.0
/** Asks the LAN who is there, on the service's own interfaces or on one that the caller names. */
import type { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { createMdns, type Mdns } from "@debvisor/shared/drivers/mdns";
import type { MdnsTxt } from "@debvisor/shared/drivers/mdns-records";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { type IsRegistered, toSighting } from "../reconcilers/presence.ts";

type Contract = typeof discoveryContract;

/** Needed to ask. `mdns`: the session of the node part, undefined when mDNS is switched off. */
export interface DiscoverDeps {
  readonly mdns: Mdns | undefined;
  readonly verify: (txt: MdnsTxt) => boolean;
  readonly isRegistered: IsRegistered;
  readonly log: Logger;
}

export function discoverHandler({ mdns, verify, isRegistered, log }: DiscoverDeps) {
  const scan = async (session: Mdns, seconds: number, signal: AbortSignal): Promise<Output<Contract, "discover">> => {
    const found = await session.scan(seconds * 1000, signal);
    return {
      items: found.map((candidate) => toSighting(candidate, isRegistered)),
      interfaces: [...session.interfaces],
    };
  };
  return async (
    input: Input<Contract, "discover">,
    { signal }: RequestContext,
  ): Promise<Output<Contract, "discover">> => {
    if (input.interface === undefined) {
      if (!mdns || mdns.interfaces.length === 0)
        throw new DvError("MDNS_UNAVAILABLE", "mDNS has no interface to ask on.");
      return scan(mdns, input.seconds, signal);
    }
    const onError = ({ code, message }: DvError) => log.warn({ code, error: message }, "mdns");
    const own = await createMdns({ interfaces: [input.interface], verify, onError });
    try {
      return await scan(own, input.seconds, signal);
    } finally {
      await own.close();
    }
  };
}
