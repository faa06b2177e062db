// SPDX-License-Identifier: Apache-2.0
/** Every contract of the system, in one list. Gateway, CLI, permissions and reference are made by walking it. */
import { auditContract } from "./audit.ts";
import { clusterContract } from "./cluster.ts";
import { discoveryContract } from "./discovery.ts";
import { dnsContract } from "./dns.ts";
import { discoveryEngineContract, dnsEngineContract } from "./engine.ts";
import { gatewayContract } from "./gateway.ts";
import { hostContract } from "./host.ts";
import { type Contract, type EventSpec, type OperationSpec, wireName } from "./kit.ts";
import { maintenanceContract } from "./maintenance.ts";
import { nameserverContract } from "./nameserver.ts";
import { nodeAgentContract } from "./node-agent.ts";
import { operationContract } from "./operation.ts";
import { trustContract } from "./trust.ts";

export const CONTRACTS: readonly Contract[] = [
  auditContract,
  clusterContract,
  discoveryContract,
  discoveryEngineContract,
  dnsContract,
  dnsEngineContract,
  gatewayContract,
  hostContract,
  maintenanceContract,
  nameserverContract,
  nodeAgentContract,
  operationContract,
  trustContract,
];

/** The contracts that a service implements: its own, and those that say so. */
export function contractsOf(service: string, contracts: readonly Contract[] = CONTRACTS): readonly Contract[] {
  return contracts.filter((contract) => (contract.implementedBy ?? contract.service) === service);
}

/** An operation together with where it belongs. */
export interface RegisteredOperation {
  readonly service: string;
  /** Name in code, such as `listNodes`. */
  readonly name: string;
  /** Name on the wire, such as `list-nodes`. */
  readonly wire: string;
  readonly spec: OperationSpec;
}

/** Every operation of every contract, in a fixed order. */
export function allOperations(contracts: readonly Contract[] = CONTRACTS): readonly RegisteredOperation[] {
  return contracts.flatMap(({ service, operations }) =>
    Object.entries(operations).map(([name, spec]) => ({ service, name, wire: wireName(name), spec })),
  );
}

/** Every event as `<service>.<entity>.<fact>` with its declaration. */
export function allEvents(contracts: readonly Contract[] = CONTRACTS): ReadonlyMap<string, EventSpec> {
  return new Map(
    contracts.flatMap(({ service, events }) =>
      Object.entries(events).map(([key, spec]) => [`${service}.${key}`, spec] as const),
    ),
  );
}
