// SPDX-License-Identifier: Apache-2.0
/** Tells of a clock of this machine that is wrong: at once, and each hour while it stays so. */
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import { clockFault } from "../model/agreed-time.ts";

const TELL_EVERY_MS = 3_600_000;

/** To be called with the time that the cluster has, in milliseconds since 1970, whenever it is known. */
export function clockTeller(clock: Clock, log: Logger): (right: number) => void {
  let toldAt: number | undefined;
  return (right) => {
    const at = clock.monotonic();
    const fault = clockFault(clock.now(), right);
    if (fault === undefined) {
      toldAt = undefined;
      return;
    }
    if (toldAt !== undefined && at - toldAt < TELL_EVERY_MS) return;
    toldAt = at;
    log.error({ offMs: clock.now() - right }, `clock: ${fault}`);
  };
}
