// SPDX-License-Identifier: Apache-2.0
/** A host without systemd and without a supervisor of ours (a container): its services can be restarted by nobody from here. */
import { DvError } from "@debvisor/shared/errors";
import type { Boot, ServiceManager } from "../model/unit-state.ts";

/** Knows when the host was started and nothing else. */
export function createNoServiceManager(boot: () => Omit<Boot, "rebootable">): ServiceManager {
  const unmanaged = (unit: string) =>
    Promise.reject(
      new DvError("UNIT_NOT_MANAGED", `No systemd runs on this host that could know ${unit}.`, {
        details: { unit, units: [] },
      }),
    );
  return {
    list: () => Promise.resolve([]),
    get: unmanaged,
    restart: unmanaged,
    boot: () => Promise.resolve({ ...boot(), rebootable: false }),
    reboot: () => Promise.reject(new DvError("TOOL_FAILED", "No systemd runs on this host that could restart it.")),
  };
}
