// SPDX-License-Identifier: Apache-2.0
/** The rescue of a lone survivor, killed at each of its steps and gone on with. */
import { cpSync, existsSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { RESCUE_STEPS } from "../../services/discovery/joining/rescue-journal.ts";
import { type Formation, startFormation } from "../support/formation.ts";
import { lanLacks } from "../support/lan-namespaces.ts";
import type { Machine } from "../support/node-machine.ts";
import { startUnits } from "../support/node-machines.ts";
import {
  dvctl,
  journalOf,
  killedRescue,
  loseMachine,
  rescue,
  stopTarget,
  untilReplicated,
  writeContext,
} from "../support/rescue.ts";

const MINUTE = 60_000;
/** How long all three servers write before they are killed. */
const WRITING_MS = 8_000;
const OFF = ["m2", "m3"];
const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`a rescue (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  test("that is killed at any step ends when it is started again, with all that was acknowledged", {
    timeout: 20 * MINUTE,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    const { machines, survivor, others } = await threeServers(formation);
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

  test("of a server that was killed with the others while all of them wrote has a leader for each stream", {
    timeout: 10 * MINUTE,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    const { machines, survivor, others } = await threeServers(formation);
    const written: string[] = [];
    const writers = machines.map((machine) => writeUntilItFails(formation, machine, written));
    await sleep(WRITING_MS);
    await Promise.all(machines.map((machine) => machine.powerOff()));
    await Promise.all(writers);
    for (const machine of others) await formation.lan.link(machine.host, "down");
    await survivor.powerOn();

    await rescued(formation, survivor, OFF);
    const kept = await tokensOf(survivor);
    const lost = written.filter((id) => !kept.includes(id));
    process.stdout.write(`[INFO] of ${written.length} acknowledged writes ${lost.length} were never heard of by it\n`);
    // A write counts for two of three servers. What the survivor is behind when all are killed is what is on its way.
    expect(lost.length).toBeLessThanOrEqual(machines.length);
  });
});

/** Rescues a machine that is on without its services, and starts them. */
async function rescued(formation: Formation, survivor: Machine, off: readonly string[]): Promise<void> {
  const startedAt = performance.now();
  const done = await rescue(survivor, off, "--confirm");
  expect(done.code, done.stderr).toBe(0);
  process.stdout.write(`[INFO] rescued in ${Math.round(performance.now() - startedAt)} ms\n`);
  await startUnits(survivor);
  await formation.untilWritable([survivor], MINUTE);
  await formation.key.write(survivor);
}

async function writeUntilItFails(formation: Formation, machine: Machine, written: string[]): Promise<void> {
  try {
    for (;;) written.push(await formation.key.write(machine));
  } catch {
    // The machine is off.
  }
}

async function tokensOf(machine: Machine): Promise<string[]> {
  const { stdout } = await dvctl(machine, "tokens", "list", "--limit", "1000", "--json");
  return (JSON.parse(stdout) as { items: { id: string }[] }).items.map(({ id }) => id);
}

/** Three servers that hold every stream; the commands of the first have the administrator's key. */
async function threeServers(formation: Formation) {
  const machines = (await formation.addAll(0, 1, 2)) as [Machine, Machine, Machine];
  const [survivor, ...others] = machines;
  await formation.untilWritable(machines, 2 * MINUTE);
  await untilReplicated(formation, 2 * MINUTE);
  writeContext(formation, survivor);
  return { machines, survivor, others };
}
