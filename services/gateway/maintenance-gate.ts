// SPDX-License-Identifier: Apache-2.0
/**
 * Maintenance honoured for the changes that the gateway forwards itself (REQUIREMENTS X-26); durable operations are refused by
 * their engine. Who cannot be asked refuses: a change that slips through is worse than one that has to be repeated.
 */
import { CLUSTER, maintenanceContract } from "@debvisor/proto-events/maintenance";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { CORE } from "@debvisor/proto-events/subjects";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";

/** Refuses a change of what somebody else holds in maintenance. @throws IN_MAINTENANCE, UNAVAILABLE, TIMEOUT */
export type MaintenanceGate = (operation: RegisteredOperation, input: unknown, actor: string) => Promise<void>;

/** What runs already may be steered and ended in maintenance as well. */
const FREE: ReadonlySet<string> = new Set(["operation"]);
const TIMEOUT_MS = 3_000;

/** Makes the gate. */
export function maintenanceGate(bus: Pick<Bus, "request">): MaintenanceGate {
  return async ({ service }, input, actor) => {
    if (FREE.has(service)) return;
    const { node } = (input ?? {}) as { node?: unknown };
    const options = { timeoutMs: TIMEOUT_MS };
    const { items } = await bus.request(CORE, maintenanceContract, "getMaintenance", {}, options);
    const touches = (target: string, name: string) => target === CLUSTER || target === node || name === node;
    const held = items.find(({ target, name, holder }) => touches(target, name) && holder !== actor);
    if (!held) return;
    const end = `dvctl maintenance disable ${held.target === CLUSTER ? "--cluster" : held.name}`;
    throw new DvError(
      "IN_MAINTENANCE",
      `${held.name} is in maintenance by ${held.holder}${held.user === null ? "" : ` (${held.user})`} since ${held.since}.`,
      {
        details: { maintenance: held, hint: `wait, or end it: ${end}` },
      },
    );
  };
}
