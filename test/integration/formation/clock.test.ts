// SPDX-License-Identifier: Apache-2.0
/**
 * Wrong clocks (RULES.md 6). Machines that think at their first boot that it is 1970, or years later than it is, become members, get
 * certificates with the cluster's dates, and work once their clocks are set right; a server renews a certificate with wrong dates.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { nodePaths, readNode, ServerSecrets } from "@debvisor/shared/node-files";
import { createRequest, signCertificate } from "@debvisor/shared/pki/authority";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Formation, startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import type { Machine } from "../../support/node-machine.ts";
import { untilMember } from "../../support/node-machines.ts";
import { waitFor } from "../../support/wait-for.ts";
import { WrongClock, wrongClocksLack } from "../../support/wrong-clock.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const YEAR_MS = 365 * DAY_MS;
const PATIENCE_MS = 20_000;
const lacking = [...lanLacks(), ...wrongClocksLack()];

function validity(machine: Machine) {
  const { notBefore, notAfter } = certificateFacts(readFileSync(nodePaths(machine.nodeDir).tls.certificate, "utf8"));
  return { fromMs: notBefore.getTime() - Date.now(), untilMs: notAfter.getTime() - Date.now() };
}

function expectRightCertificate(machine: Machine): void {
  const { fromMs, untilMs } = validity(machine);
  expect(fromMs).toBeGreaterThan(-DAY_MS - HOUR_MS);
  expect(fromMs).toBeLessThan(-DAY_MS + HOUR_MS);
  expect(untilMs).toBeGreaterThan(7 * DAY_MS - HOUR_MS);
  expect(untilMs).toBeLessThan(7 * DAY_MS + HOUR_MS);
}

/** Replaces the certificate of a server that is off by the one that it would have got at that time. */
async function dateCertificate(machine: Machine, now: Date): Promise<void> {
  const { secrets, tls } = nodePaths(machine.nodeDir);
  const { authority, cluster } = ServerSecrets.parse(JSON.parse(readFileSync(secrets, "utf8")));
  const { requestPem, keyPem } = await createRequest();
  const leaf = { cluster, nodeId: readNode(machine.nodeDir).id, addresses: [machine.address(), "127.0.0.1"], now };
  writeFileSync(tls.certificate, await signCertificate(authority, requestPem, leaf));
  writeFileSync(tls.key, keyPem);
}

describe.skipIf(lacking.length > 0)(`wrong clocks (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  const clocks = {
    // As a board without a battery has it.
    past: new WrongClock(new Date(60_000)),
    ahead: new WrongClock(new Date(Date.now() + 10 * YEAR_MS)),
  };
  let formation: Formation;
  let founder: Machine;
  beforeAll(async () => {
    formation = await startFormation({ hosts: 3, preseed: () => ["founder: m1"] });
  });
  afterAll(async () => {
    await formation[Symbol.asyncDispose]();
    for (const clock of Object.values(clocks)) clock[Symbol.dispose]();
  });

  test("a server whose certificate is long over, as one dated in 1970 or one that was off for weeks, comes back with a new one", {
    timeout: 60_000,
  }, async () => {
    founder = await formation.add(0);
    await formation.untilWritable([founder], PATIENCE_MS);
    await founder.powerOff();
    await dateCertificate(founder, new Date(60_000));

    await formation.powerOn(founder);
    await formation.untilWritable([founder], PATIENCE_MS);

    expectRightCertificate(founder);
  });

  test("workers in 1970 and years ahead are let in, and are alive once their clocks are right", {
    timeout: 60_000,
  }, async () => {
    const workers = await Promise.all([
      formation.add(1, ["role: worker"], clocks.past.env),
      formation.add(2, ["role: worker"], clocks.ahead.env),
    ]);
    await Promise.all(workers.map((worker) => untilMember(worker, PATIENCE_MS)));
    const [past, ahead] = workers;

    expect(past.log.join("\n")).toContain('"time":"1970-01-01T');
    expect(ahead.log.join("\n")).toContain(`"time":"${new Date(Date.now() + 10 * YEAR_MS).getUTCFullYear()}-`);
    for (const worker of workers) expectRightCertificate(worker);

    for (const [worker, said] of [
      [past, /The clock of this machine is \d+d( \d+h)? behind the cluster's/],
      [ahead, /The clock of this machine is \d+d( \d+h)? ahead of the cluster's/],
    ] as const) {
      for (const unit of ["join: ", "discovery: "])
        await waitFor(
          () => worker.log.some((line) => line.startsWith(unit) && said.test(line)),
          PATIENCE_MS,
          () => `${unit}${worker.name} does not say by how much its clock is wrong\n${worker.tail()}`,
        );
    }
    expect(await formation.key.members(founder)).toEqual(["m1"]);
    clocks.past.setRight();
    clocks.ahead.setRight();
    await formation.untilMembers(founder, ["m1", "m2", "m3"], PATIENCE_MS);
  });
});

describe.skipIf(lacking.length > 0)(
  `a clock that is set back (lacking here: ${lacking.join(", ") || "nothing"})`,
  () => {
    test("does not open again what the time has closed: a preseed that is stolen later lets nobody in", {
      timeout: 60_000,
    }, async () => {
      await using formation = await startFormation({ hosts: 2, servers: 1 });
      using clock = new WrongClock(new Date());
      const hours = { DV_DISCOVERY_UNATTENDED_HOURS: "0.0015" };
      const server = await formation.add(0, ["single: true"], { ...clock.env, ...hours });
      await formation.untilWritable([server], PATIENCE_MS);
      let shown: unknown;
      await waitFor(
        async () => {
          shown = (await formation.key.ask(server, "GET", "/v1/cluster"))?.body["unattendedUntil"];
          return shown === null;
        },
        PATIENCE_MS,
        () => `the cluster is open until ${JSON.stringify(shown)}\n${server.tail()}`,
      );

      // By this clock the cluster has not even been founded yet.
      clock.set(new Date(Date.now() - 2 * HOUR_MS));
      const thief = await formation.add(1, ["role: worker"]);
      // Programs see a clock that is set within a second; the first refusal may come before that.
      const isByThatClock = (line: string) =>
        line.includes("join: refused") && Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? "") < Date.now() - HOUR_MS;
      await waitFor(
        () => thief.log.some((line) => line.includes("JOIN_CLOSED")) && server.log.some(isByThatClock),
        PATIENCE_MS,
        () => `${thief.name} is not refused\n${thief.tail()}\n${server.tail()}`,
      );

      expect(await formation.key.members(server)).toEqual(["m1"]);
      const back = (await formation.key.ask(server, "GET", "/v1/cluster"))?.body;
      expect(back?.["unattendedUntil"]).toBeNull();
    });
  },
);
