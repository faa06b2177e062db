// SPDX-License-Identifier: Apache-2.0
/** Formation on networks that are not as one would wish: cables out, several interfaces, no default route, IPv6 alone, a flood of falsehoods. */
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import { untilMember } from "../../support/node-machines.ts";
import { expectOneCluster, form, SERVERS } from "../../support/one-cluster.ts";

const MINUTE = 60_000;
const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`formation (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  test("with every cable out no minority founds; with the cables in again they form", {
    timeout: 2 * MINUTE,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    for (const host of SERVERS) await formation.lan.link(host, "down");
    await formation.addAll(...SERVERS);
    await sleep(5_000);
    expect(formation.formations()).toEqual([]);
    for (const host of SERVERS) await formation.lan.link(host, "up");
    await expectOneCluster(formation);
  });

  test("works with two interfaces, and without a default route", { timeout: 2 * MINUTE }, async () => {
    for (const options of [{ networks: 2 }, { defaultRoute: false }] as const) {
      await using formation = await form(options);
      await expectOneCluster(formation);
    }
  });

  test("works on IPv6 alone with preseeded addresses", { timeout: 2 * MINUTE }, async () => {
    await using formation = await form({
      ipv6Only: true,
      preseed: (_host, lan) => [`addresses: [${SERVERS.map((host) => `"[${lan.address(host)}]"`).join(", ")}]`],
    });
    await expectOneCluster(formation);
  });

  test("a worker joins at once while 10,000 false advertisements fill the LAN", { timeout: 2 * MINUTE }, async ({
    annotate,
  }) => {
    await using formation = await startFormation({ hosts: 5 });
    const servers = await formation.addAll(...SERVERS);
    await formation.untilWritable(servers, 2 * MINUTE);
    const rogue = formation.lan.spawn(4, [
      process.execPath,
      path.join(import.meta.dirname, "../../support/rogue-advertiser.ts"),
      formation.lan.address(4),
      "10000",
    ]);
    let said = "";
    rogue.stdout?.on("data", (text) => (said += String(text)));
    await sleep(2_000);

    const startedAt = performance.now();
    const worker = await formation.add(3, ["role: worker"]);
    await untilMember(worker, 30_000);
    await annotate(`joined under ${said.trim()} in ${Math.round(performance.now() - startedAt)} ms`);

    rogue.kill("SIGKILL");
    expect(formation.formations()).toHaveLength(1);
    for (const machine of servers) expect(await formation.key.write(machine)).toMatch(/^[a-z0-9]+$/);
  });
});
