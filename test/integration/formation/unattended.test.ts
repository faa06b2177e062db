// SPDX-License-Identifier: Apache-2.0
/**
 * Machines with only a preseed file, turned on at once, become one cluster that takes writes: the programs of the units in network
 * namespaces. The long repetitions are in test/soak/formation.test.ts.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Formation, startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import { membershipOf, untilMember } from "../../support/node-machines.ts";

const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`three machines (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let formation: Formation;
  beforeAll(async () => {
    formation = await startFormation({ hosts: 4 });
  });
  afterAll(() => formation[Symbol.asyncDispose]());

  test("form one cluster that takes writes on each", { timeout: 60_000 }, async () => {
    const startedAt = performance.now();
    const machines = await formation.addAll(0, 1, 2);
    const writableAt = await formation.untilWritable(machines);
    process.stdout.write(
      `[INFO] three machines, power-on to writable on each: ${Math.round(writableAt - startedAt)} ms\n`,
    );

    for (const machine of machines) expect(await formation.key.write(machine)).toMatch(/^[a-z0-9]+$/);
    for (const machine of machines) await formation.untilMembers(machine, ["m1", "m2", "m3"]);
    expect(formation.formations()).toHaveLength(1);
  });

  test("let a fourth in as a worker", { timeout: 60_000 }, async () => {
    const startedAt = performance.now();
    const worker = await formation.add(3, ["role: worker"]);
    await untilMember(worker, 20_000);
    process.stdout.write(`[INFO] worker, power-on to member: ${Math.round(performance.now() - startedAt)} ms\n`);

    expect(membershipOf(worker)).toMatchObject({ isServer: false, formation: formation.formations()[0] });
    const [first] = formation.machines;
    if (first) await formation.untilMembers(first, ["m1", "m2", "m3", "m4"]);
  });

  test("and are the same cluster again after a power cut of all", { timeout: 60_000 }, async () => {
    const [formationId] = formation.formations();
    await Promise.all(formation.machines.map((machine) => machine.powerOff()));
    const servers = formation.machines.slice(0, 3);

    const startedAt = performance.now();
    await formation.powerOn(...formation.machines);
    const writableAt = await formation.untilWritable(servers, 45_000);
    process.stdout.write(
      `[INFO] after a power cut, power-on to writable on each: ${Math.round(writableAt - startedAt)} ms\n`,
    );

    expect(formation.formations()).toEqual([formationId]);
    for (const machine of servers) expect(await formation.key.write(machine)).toMatch(/^[a-z0-9]+$/);
  });
});

describe.skipIf(lacking.length > 0)("three other machines", () => {
  test("form one cluster although the switch is split meanwhile and a join is killed", {
    timeout: 120_000,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    const machines = await formation.addAll(0, 1, 2);
    await sleep(500);
    await formation.lan.cut([0], [1, 2]);
    const [, second] = machines;
    if (second?.units().includes("join")) second.unit("join").kill();
    await sleep(4_000);
    expect(formation.formations().length).toBeLessThanOrEqual(1);
    await formation.lan.heal();

    await formation.untilWritable(machines, 60_000);
    for (const machine of machines) await formation.untilMembers(machine, ["m1", "m2", "m3"]);
    expect(formation.formations()).toHaveLength(1);
  });
});
