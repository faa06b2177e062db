// SPDX-License-Identifier: Apache-2.0
/**
 * Formation of a cluster from preseed files where the LAN or the machines misbehave: killed joins, split switches, pulled cables, odd
 * networks and a flood of false advertisements. The programs of the units in network namespaces.
 */

import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type Formation, type FormationOptions, startFormation } from "../support/formation.ts";
import { lanLacks } from "../support/lan-namespaces.ts";
import { untilMember } from "../support/node-machines.ts";
import { chosenSeed, pick, randomNumbers } from "../support/seeded.ts";

const MINUTE = 60_000;
const SERVERS = [0, 1, 2];
const NAMES = ["m1", "m2", "m3"];
const lacking = lanLacks();

/** The end of every story here: one formation, three members, and a write acknowledged on each. */
async function expectOneCluster(formation: Formation): Promise<void> {
  await formation.untilWritable(formation.machines, 2 * MINUTE);
  for (const machine of formation.machines) {
    await formation.untilMembers(machine, NAMES);
    expect(await formation.key.write(machine)).toMatch(/^[a-z0-9]+$/);
  }
  expect(formation.formations()).toHaveLength(1);
}

async function form(options: Omit<FormationOptions, "hosts">): Promise<Formation> {
  const formation = await startFormation({ hosts: 3, ...options });
  try {
    await formation.addAll(...SERVERS);
    return formation;
  } catch (error) {
    await formation[Symbol.asyncDispose]();
    throw error;
  }
}

describe.skipIf(lacking.length > 0)(`formation (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  test("with joins killed at random points ends in one cluster; each killed join is simply tried again", {
    timeout: 20 * MINUTE,
  }, async () => {
    const seed = chosenSeed();
    console.info(`seed ${seed}`);
    const random = randomNumbers(seed);
    for (let round = 0; round < 5; round++) {
      await using formation = await form({});
      for (let kill = 0; kill < 4; kill++) {
        await sleep(100 + random(1_500));
        const machine = pick(random, formation.machines);
        if (machine.units().includes("join")) machine.unit("join").kill();
      }
      await expectOneCluster(formation);
    }
  });

  test("with power cuts at random points ends in one cluster", { timeout: 20 * MINUTE }, async () => {
    const seed = chosenSeed();
    console.info(`seed ${seed}`);
    const random = randomNumbers(seed);
    for (let round = 0; round < 3; round++) {
      await using formation = await form({});
      for (let cut = 0; cut < 2; cut++) {
        await sleep(200 + random(4_000));
        const machine = pick(random, formation.machines);
        await machine.powerOff();
        await formation.powerOn(machine);
      }
      await expectOneCluster(formation);
    }
  });

  test("with the switch split while they choose a founder ends in one formation after it is healed", {
    timeout: 10 * MINUTE,
  }, async () => {
    for (const afterMs of [0, 600, 1_200, 2_500]) {
      await using formation = await startFormation({ hosts: 3 });
      if (afterMs === 0) await formation.lan.cut([0], [1, 2]);
      await formation.addAll(...SERVERS);
      await sleep(afterMs);
      await formation.lan.cut([0], [1, 2]);
      await sleep(6_000);
      expect(formation.formations().length).toBeLessThanOrEqual(1);
      await formation.lan.heal();
      await expectOneCluster(formation);
    }
  });

  test("with every cable out no minority founds; with the cables in again they form", {
    timeout: 5 * MINUTE,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    for (const host of SERVERS) await formation.lan.link(host, "down");
    await formation.addAll(...SERVERS);
    await sleep(5_000);
    expect(formation.formations()).toEqual([]);
    for (const host of SERVERS) await formation.lan.link(host, "up");
    await expectOneCluster(formation);
  });

  test("works with two interfaces, and without a default route", { timeout: 5 * MINUTE }, async () => {
    for (const options of [{ networks: 2 }, { defaultRoute: false }] as const) {
      await using formation = await form(options);
      await expectOneCluster(formation);
    }
  });

  test("works on IPv6 alone with preseeded addresses", { timeout: 5 * MINUTE }, async () => {
    await using formation = await form({
      ipv6Only: true,
      preseed: (_host, lan) => [`addresses: [${SERVERS.map((host) => `"[${lan.address(host)}]"`).join(", ")}]`],
    });
    await expectOneCluster(formation);
  });

  test("a worker joins at once while 10,000 false advertisements fill the LAN", { timeout: 10 * MINUTE }, async () => {
    await using formation = await startFormation({ hosts: 5 });
    const servers = await formation.addAll(...SERVERS);
    await formation.untilWritable(servers, 2 * MINUTE);
    const rogue = formation.lan.spawn(4, [
      process.execPath,
      path.join(import.meta.dirname, "../support/rogue-advertiser.ts"),
      formation.lan.address(4),
      "10000",
    ]);
    let said = "";
    rogue.stdout?.on("data", (text) => (said += String(text)));
    await sleep(2_000);

    const startedAt = performance.now();
    const worker = await formation.add(3, ["role: worker"]);
    await untilMember(worker, 30_000);
    console.info(`joined under ${said.trim()} in ${Math.round(performance.now() - startedAt)} ms`);

    rogue.kill("SIGKILL");
    expect(formation.formations()).toHaveLength(1);
    for (const machine of servers) expect(await formation.key.write(machine)).toMatch(/^[a-z0-9]+$/);
  });
});
