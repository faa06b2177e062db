// SPDX-License-Identifier: Apache-2.0
/** Maintenance honoured for durable operations, by whichever engine is asked (REQUIREMENTS X-26). */
import { CLUSTER, maintenanceContract } from "@debvisor/proto-events/maintenance";
import type { Bus } from "../bus/bus.ts";
import { DvError } from "../errors.ts";
import type { MaintenancePicture } from "./maintenance-picture.ts";
import type { MaintenanceGate } from "./submit.ts";

/** What the gate asks, and where it says that it refused. */
export interface MaintenanceGateDeps {
  readonly store: Pick<MaintenancePicture, "of">;
  readonly bus: Pick<Bus, "publishEvent">;
}

/** Refuses a change of what somebody else holds in maintenance. */
export function maintenanceGate({ store, bus }: MaintenanceGateDeps): MaintenanceGate {
  return async (touches, { actor, type, mode }) => {
    const held = (await store.of(touches)).find(({ holder }) => holder !== actor);
    if (!held) return;
    const { target, name, holder } = held;
    const blocked = { target, name, holder, actor, type };
    if (mode === "apply")
      await bus.publishEvent(maintenanceContract, "change.blocked", blocked, { subject: target, actor });
    const end = `dvctl maintenance disable ${target === CLUSTER ? "--cluster" : name}`;
    const why = held.reason === null ? "" : ` (${held.reason})`;
    throw new DvError(
      "IN_MAINTENANCE",
      `${name} is in maintenance by ${holder}${held.user === null ? "" : ` (${held.user})`} since ${held.since}${why}${held.until === null ? "" : `, until ${held.until}`}.`,
      { details: { maintenance: held, hint: `wait, or end it: ${end}` } },
    );
  };
}
