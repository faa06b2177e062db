// SPDX-License-Identifier: Apache-2.0
/** A unit that does not come up again: how long that is waited for, and what is told. Time is the test's. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "@debvisor/shared/clock";
import { silentLogger } from "@debvisor/shared/log";
import { openLedger } from "@debvisor/shared/operation/ledger";
import { expect, test } from "vitest";
import type { ServiceManager, Unit } from "../model/unit-state.ts";
import { restartUnitHandler } from "./restart-unit.ts";

test("a unit that is not running after 20 s is a failure that names its last state, and may be tried again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dv-restart-"));
  let now = 0;
  const clock: Clock = {
    now: () => now,
    monotonic: () => now,
    sleep: (ms) => {
      now += ms;
      return Promise.resolve();
    },
  };
  let unit: Unit = { name: "gateway", state: "running", invocation: "1", startedAt: null };
  let restarts = 0;
  const manager: ServiceManager = {
    list: () => Promise.resolve([unit]),
    get: () => Promise.resolve(unit),
    restart: () => {
      restarts++;
      unit = { ...unit, state: restarts === 1 ? "failed" : "running", invocation: restarts === 1 ? null : "2" };
      return Promise.resolve();
    },
    boot: () => Promise.reject(new Error("not asked in this test")),
    reboot: () => Promise.reject(new Error("not asked in this test")),
  };
  const ledger = openLedger(join(folder, "ledger.sqlite"), { clock, log: silentLogger() });
  const never = new AbortController().signal;
  const handle = restartUnitHandler({ manager, ledger, clock, stopping: never });
  const order = { operation: "op-a", step: "restart", direction: "do", epoch: 1, resource: null, fence: null } as const;

  await expect(handle({ unit: "gateway" }, { order, signal: never })).rejects.toMatchObject({
    code: "TOOL_FAILED",
    details: { unit: { state: "failed" } },
  });
  expect(now).toBeGreaterThanOrEqual(20_000);
  expect(now).toBeLessThan(21_000);
  // The state before is the one from before the first attempt.
  expect(await handle({ unit: "gateway" }, { order, signal: never })).toMatchObject({
    before: { invocation: "1" },
    after: { state: "running", invocation: "2" },
  });
  expect(restarts).toBe(2);
  ledger.close();
  rmSync(folder, { recursive: true });
});
