// SPDX-License-Identifier: Apache-2.0
/** The rescue of a lone survivor, killed at each of its steps and gone on with. */
import { cpSync, existsSync, rmSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { RESCUE_STEPS } from "../../services/discovery/joining/rescue-journal.ts";
import { startFormation } from "../support/formation.ts";
import { lanLacks } from "../support/lan-namespaces.ts";
import type { Machine } from "../support/node-machine.ts";
import { startUnits } from "../support/node-machines.ts";
import {
  dvctl,
  journalOf,
  killedRescue,
  loseMachine,
  stopTarget,
  untilReplicated,
  writeContext,
} from "../support/rescue.ts";

const MINUTE = 60_000;
const OFF = ["m2", "m3"];
const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`a rescue (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  test("that is killed at any step ends when it is started again, with all that was acknowledged", {
    timeout: 20 * MINUTE,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    const machines = (await formation.addAll(0, 1, 2)) as [Machine, Machine, Machine];
    const [survivor, ...others] = machines;
    await formation.untilWritable(machines, 2 * MINUTE);
    await untilReplicated(formation, 2 * MINUTE);
    writeContext(formation, survivor);
    const written: string[] = [];
    for (const machine of machines) written.push(await formation.key.write(machine));
    await stopTarget(survivor);
    for (const machine of others) await loseMachine(formation, machine);
    const disk = `${survivor.nodeDir}-before`;
    cpSync(survivor.nodeDir, disk, { recursive: true });

    for (const step of RESCUE_STEPS) {
      rmSync(survivor.nodeDir, { recursive: true });
      cpSync(disk, survivor.nodeDir, { recursive: true });
      await killedRescue(survivor, OFF, step);
      expect(existsSync(journalOf(survivor))).toBe(true);
      const startedAt = performance.now();
      const done = await dvctl(survivor, "cluster", "rescue", "--confirm", "--node-dir", survivor.nodeDir);
      expect(done.code, `${step}: ${done.stderr}`).toBe(0);
      process.stdout.write(`[INFO] killed at ${step}: ended in ${Math.round(performance.now() - startedAt)} ms\n`);

      await startUnits(survivor);
      await formation.untilWritable([survivor], MINUTE);
      const own = await formation.key.write(survivor);
      const { stdout } = await dvctl(survivor, "tokens", "list", "--json");
      const ids = (JSON.parse(stdout) as { items: { id: string }[] }).items.map(({ id }) => id);
      expect(ids, step).toEqual(expect.arrayContaining([...written, own]));
      expect(await formation.key.members(survivor, "removed"), step).toEqual(OFF);
      await stopTarget(survivor);
    }
  });
});
