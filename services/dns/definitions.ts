// SPDX-License-Identifier: Apache-2.0
/** Every definition that the engine of dns runs. The torture test runs each of them as well. */
import type { Definition } from "@debvisor/shared/operation/definition";
import { type ChangeDeps, changeRecordsDefinition } from "./operations/change-records.ts";

/** The definitions, in the order of the contract. */
export function dnsDefinitions(deps: ChangeDeps): readonly Definition<never>[] {
  return [changeRecordsDefinition(deps) as unknown as Definition<never>];
}
