// SPDX-License-Identifier: Apache-2.0
/** Every definition that the engine of dns runs. The torture test runs each of them as well. */
import type { Definition } from "@debvisor/shared/operation/definition";
import { type ChangeDeps, changeRecordsDefinition } from "./operations/change-records.ts";
import { rotateKeysDefinition } from "./operations/rotate-keys.ts";
import { OrderGuard } from "./reconcilers/order-guard.ts";

/** The definitions, in the order of the contract. */
export function dnsDefinitions(deps: Omit<ChangeDeps, "guard">): readonly Definition<never>[] {
  const guard = new OrderGuard(deps.bus);
  const all = [changeRecordsDefinition({ ...deps, guard }), rotateKeysDefinition({ ...deps, guard })];
  return all as unknown as readonly Definition<never>[];
}
