// SPDX-License-Identifier: Apache-2.0
/** systemctl(1) as the manager of a host's services, checked with systemd 252. `--timestamp=unix` needs 248. */

import { DvError } from "@debvisor/shared/errors";
import { execChecked } from "@debvisor/shared/exec";
import {
  type Boot,
  parseUnitStates,
  type ServiceManager,
  systemdNames,
  UNIT_STATE_PROPERTIES,
  type Unit,
} from "../model/unit-state.ts";

const TIMEOUT_MS = 4_000;
const OWN_UNITS = "debvisor-*.service";

/** Uses the systemd that runs as process 1. `boot` says since when the host has been up. */
export function createSystemctl(boot: () => Omit<Boot, "rebootable">): ServiceManager {
  const show = async (names: readonly string[], signal?: AbortSignal): Promise<Unit[]> => {
    const properties = `--property=${UNIT_STATE_PROPERTIES.join(",")}`;
    const args = ["show", "--no-pager", "--timestamp=unix", properties, "--", ...names];
    return parseUnitStates((await execChecked("systemctl", args, { timeoutMs: TIMEOUT_MS, signal })).stdout);
  };
  const find = async (unit: string, signal?: AbortSignal): Promise<{ id: string; unit: Unit }> => {
    for (const id of systemdNames(unit)) {
      const [found] = await show([id], signal);
      if (found) return { id, unit: found };
    }
    const units = (await show([OWN_UNITS], signal)).map(({ name }) => name);
    throw new DvError("UNIT_NOT_MANAGED", `This host has no unit ${unit}.`, { details: { unit, units } });
  };
  return {
    list: (signal) => show([OWN_UNITS], signal),
    get: async (unit, signal) => (await find(unit, signal)).unit,
    restart: async (unit, signal) => {
      const { id } = await find(unit, signal);
      // Not waited for: a restart of the agent itself ends this very process.
      const args = ["restart", "--no-block", "--no-ask-password", "--", id];
      await execChecked("systemctl", args, { timeoutMs: TIMEOUT_MS, signal });
    },
    boot: () => Promise.resolve({ ...boot(), rebootable: true }),
    reboot: async (signal) => {
      const args = ["reboot", "--no-block", "--no-ask-password"];
      await execChecked("systemctl", args, { timeoutMs: TIMEOUT_MS, signal });
    },
  };
}
