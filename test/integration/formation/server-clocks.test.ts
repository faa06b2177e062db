// SPDX-License-Identifier: Apache-2.0
/**
 * Three servers, the clock of one hours off (RULES.md 6). It says so, and the cluster's time is that of the other two: what it decides
 * and signs has their dates. nats-server has the kernel's clock, which is right; what that does with a wrong one is in
 * test/integration/bus/follow.test.ts.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { nodePaths } from "@debvisor/shared/node-files";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { describe, expect, test } from "vitest";
import { startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import { untilMember } from "../../support/node-machines.ts";
import { waitFor } from "../../support/wait-for.ts";
import { WrongClock, wrongClocksLack } from "../../support/wrong-clock.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const PATIENCE_MS = 60_000;
const HEARD_MS = 5_000;
const lacking = [...lanLacks(), ...wrongClocksLack()];

describe.skipIf(lacking.length > 0)(
  `one wrong clock of three (lacking here: ${lacking.join(", ") || "nothing"})`,
  () => {
    test.each([
      { name: "thirty hours behind", off: -30 * HOUR_MS, said: "1d 6h behind" },
      { name: "ten years ahead", off: 3_650 * DAY_MS, said: "3650d ahead of" },
    ])(
      "a server that is $name says so, and lets machines in by the cluster's time",
      { timeout: 5 * 60_000 },
      async ({ off, said }) => {
        await using formation = await startFormation({ hosts: 4, preseed: () => ["founder: m1"] });
        const right = await formation.addAll(0, 1);
        await formation.untilMembers(right[0] as (typeof right)[number], ["m1", "m2"], PATIENCE_MS);
        // The clock goes wrong while it runs: with a wrong one from the start it waits until that is set.
        using clock = new WrongClock(new Date());
        const wrong = await formation.add(2, [], clock.env);
        await formation.untilMembers(wrong, ["m1", "m2", "m3"], PATIENCE_MS);
        // Until it has heard a heartbeat of both others it goes by its own clock.
        await sleep(HEARD_MS);
        clock.set(new Date(Date.now() + off));

        await waitFor(
          () => wrong.log.some((line) => line.includes(`The clock of this machine is ${said} the cluster's`)),
          PATIENCE_MS,
          () => `m3 does not say that its clock is wrong\n${wrong.tail()}`,
        );
        // Only the one with the wrong clock can be asked: the secret is good for a day, and its own clock says that this is over or far away.
        const worker = await formation.add(3, ["role: worker", `addresses: [${wrong.address()}]`]);
        await untilMember(worker, PATIENCE_MS);

        for (const machine of [wrong, worker]) {
          const facts = certificateFacts(readFileSync(nodePaths(machine.nodeDir).tls.certificate, "utf8"));
          expect(Math.abs(facts.notAfter.getTime() - Date.now() - 7 * DAY_MS)).toBeLessThan(HOUR_MS);
        }
        for (const machine of right) expect(machine.log.filter((line) => line.includes("clock: "))).toEqual([]);
      },
    );
  },
);
