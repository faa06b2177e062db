// SPDX-License-Identifier: Apache-2.0
/** Serves the supervisor socket of a node of the local cluster: its services, their restart, the restart of the node. */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { SupervisorRequest, type SupervisorState, supervisorSocket } from "@debvisor/shared/drivers/lab-supervisor";
import { DvError } from "@debvisor/shared/errors";
import { serveControl } from "./control.ts";
import type { NodeServices } from "./node-services.ts";

/** Time for an answer to leave before the node ends. */
const ANSWER_MS = 50;

/** What the supervisor acts on. */
export interface SupervisorOptions {
  readonly dir: string;
  readonly services: Pick<NodeServices, "units" | "restart">;
  /** Whether somebody would start the node again. */
  readonly rebootable: () => boolean;
  readonly reboot: () => void;
}

/** Serves until stopped. The boot id is new with every call, which a node makes once. */
export async function startSupervisor(options: SupervisorOptions): Promise<{ stop(): void }> {
  const { dir, services, rebootable, reboot } = options;
  const boot = { bootId: randomUUID(), startedAt: new Date(performance.timeOrigin).toISOString() };
  const state = (): SupervisorState => ({ ...boot, rebootable: rebootable(), units: [...services.units()] });
  const socket = supervisorSocket(dir);
  const server = await serveControl(socket, SupervisorRequest, (request) => {
    if (request.command === "restart") {
      const units = services.units().map(({ name }) => name);
      if (!units.includes(request.unit))
        throw new DvError("UNIT_NOT_MANAGED", `This node has no service ${request.unit}.`, { details: { units } });
      services.restart(request.unit);
    } else if (request.command === "reboot") {
      if (!rebootable()) throw new DvError("TOOL_FAILED", "Nobody would start this node again.");
      setTimeout(reboot, ANSWER_MS);
    }
    return state();
  });
  return {
    stop: () => {
      server.close();
      rmSync(socket, { force: true });
    },
  };
}
