// SPDX-License-Identifier: Apache-2.0
/** Two machines that found the same cluster id on a LAN in two halves: told of when it heals, never merged (RULES.md 5). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Formation, startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import { waitFor } from "../../support/wait-for.ts";

const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`two founders (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let formation: Formation;
  beforeAll(async () => {
    formation = await startFormation({ hosts: 3, servers: 1, preseed: () => ["single: true"] });
  });
  afterAll(() => formation[Symbol.asyncDispose]());

  test("a machine that meets the cluster does not found a second one, even if it is not let in", {
    timeout: 60_000,
  }, async () => {
    const first = await formation.add(0);
    await formation.untilWritable([first]);
    const second = await formation.add(1);
    await waitFor(
      () => second.tail(200).includes("CLUSTER_FULL"),
      20_000,
      () => `the second machine was not refused\n${formation.logs()}`,
    );
    // Longer than a founder looks around.
    await new Promise((resolve) => setTimeout(resolve, 2_000));

    expect(formation.formations()).toHaveLength(1);
    await second.powerOff();
  });

  test("are told of when the LAN heals, and stay two", { timeout: 60_000 }, async () => {
    await formation.lan.cut([0], [2]);
    const third = await formation.add(2);
    await formation.untilWritable([third]);
    expect(formation.formations()).toHaveLength(2);

    await formation.lan.heal();
    await waitFor(
      () => formation.machines.some((machine) => machine.tail(400).includes("FORMATION_SPLIT")),
      30_000,
      () => `nobody told of the second formation\n${formation.logs()}`,
    );

    expect(formation.formations()).toHaveLength(2);
  });
});
