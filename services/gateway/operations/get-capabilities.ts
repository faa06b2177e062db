// SPDX-License-Identifier: Apache-2.0
/** Tells a caller who it is and what it may do here (REQUIREMENTS GW-12). */
import type { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Output } from "@debvisor/proto-events/kit";
import { allOperations, CONTRACTS } from "@debvisor/proto-events/registry";
import type { OwnCall } from "./handlers.ts";

type Contract = typeof gatewayContract;

export function getCapabilitiesHandler({ version }: { readonly version: string }) {
  const changing = allOperations().filter(({ spec }) => spec.effect !== "read" && spec.http !== null);
  const contractVersions = Object.fromEntries(CONTRACTS.map(({ service }) => [service, version]));
  return (_input: unknown, { principal }: OwnCall): Output<Contract, "getCapabilities"> => ({
    principal: principal.id,
    role: principal.role,
    permissions: [...principal.permissions].sort(),
    writes: changing.some(({ spec }) => principal.permissions.has(spec.permission)),
    secretContents: false,
    apiVersion: "v1",
    contractVersions,
  });
}
