// SPDX-License-Identifier: Apache-2.0
/** What a machine asks of a member that it has proved itself to, with or without somebody there. */
import type { JoinRequest } from "@debvisor/shared/join/messages";
import { VERSION } from "@debvisor/shared/version";
import type { Machine } from "./machine.ts";
import type { FreshKeys } from "./take-up.ts";

/** The request of a machine that wants to be let in. */
export function joinRequest(machine: Machine, keys: FreshKeys): JoinRequest {
  return {
    kind: "join",
    name: machine.name,
    role: machine.role,
    version: VERSION,
    addresses: [...machine.addresses],
    endpoints: machine.endpoints,
    busKey: keys.bus.publicKey,
    tlsRequest: keys.tls.requestPem,
  };
}

/** What a machine says of itself while it proves itself. */
export function joinFacts({ name, role }: Machine) {
  return { name, role, version: VERSION };
}
