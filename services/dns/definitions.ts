// SPDX-License-Identifier: Apache-2.0
/** Every definition that the engine of dns runs. The torture test runs each of them as well. */
import type { Definition } from "@debvisor/shared/operation/definition";
import { type ChangeDeps, changeRecordsDefinition } from "./operations/change-records.ts";
import { hostDefinitions } from "./operations/register-host.ts";
import { rotateKeysDefinition } from "./operations/rotate-keys.ts";
import { HostStore } from "./reconcilers/host-store.ts";
import { OrderGuard } from "./reconcilers/order-guard.ts";
import { WaitCount } from "./reconcilers/wait-count.ts";

/** The definitions, in the order of the contract. */
export function dnsDefinitions(deps: Omit<ChangeDeps, "guard" | "waits">): readonly Definition<never>[] {
  const guard = new OrderGuard(deps.bus);
  const waits = new WaitCount(deps.bus);
  const hosts = new HostStore(deps.bus);
  const all = [
    rotateKeysDefinition({ ...deps, guard }),
    changeRecordsDefinition({ ...deps, guard, waits }),
    ...hostDefinitions({ ...deps, guard, hosts }),
  ];
  return all as unknown as readonly Definition<never>[];
}
