// SPDX-License-Identifier: Apache-2.0
/**
 * Formation of a cluster from preseed files where the LAN or the machines misbehave: killed joins, power cuts
 * and split switches, many times each. The programs of the units in network namespaces.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { startFormation } from "../support/formation.ts";
import { lanLacks } from "../support/lan-namespaces.ts";
import { expectOneCluster, form, SERVERS } from "../support/one-cluster.ts";
import { chosenSeed, pick, randomNumbers } from "../support/seeded.ts";

const MINUTE = 60_000;
const lacking = lanLacks();

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
});
