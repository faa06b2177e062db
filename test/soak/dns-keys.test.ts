// SPDX-License-Identifier: Apache-2.0
/** A thousand changes of records while keys are replaced ten times: none refused, none lost. Needs BIND. */
import { expect, test } from "vitest";
import { lacking, startDns } from "../integration/dns/rig.ts";
import { startManagedBind } from "../support/bind-managed.ts";
import { sharedBusCluster } from "../support/bus-cluster.ts";
import { rotateUnderLoad } from "../support/rotation-load.ts";
import { waitFor } from "../support/wait-for.ts";

const cluster = sharedBusCluster({ servers: 1 });
const MINUTE = 60_000;

test.skipIf(lacking.length > 0)(
  `1,000 changes while keys rotate ten times (lacking here: ${lacking.join() || "nothing"})`,
  { timeout: 30 * MINUTE },
  async () => {
    await using bind = await startManagedBind(cluster());
    await using dns = await startDns(cluster());
    await dns.manage(bind);
    expect((await dns.rotate({ overlap: "0s" })).state).toBe("succeeded");

    const found = await rotateUnderLoad({
      ...{ updates: 1_000, rotations: 10, clients: 4 },
      change: (name, address) => dns.change({ changes: [{ name, data: [address] }] }),
      rotate: () => dns.rotate({ overlap: "0s" }),
    });

    const during = `${found.during} of them during ${found.rotations.length} rotations`;
    process.stdout.write(`${found.wanted.size} changes, ${during}; steps in ms:\n${found.timings.join("\n")}\n`);
    expect([found.rotations.filter((end) => end !== "succeeded"), found.failed]).toEqual([[], []]);
    expect(found.wanted.size).toBeGreaterThanOrEqual(1_000);
    for (const { port } of [bind.primary, bind.secondary]) {
      for (const [name, address] of found.wanted) {
        let answer: string[] = [];
        await waitFor(
          async () => {
            answer = await bind.dig(`${name}.${bind.zone}`, "A", port);
            return answer.join() === address;
          },
          10_000,
          () => `${name} on ${port} is ${answer.join()}, not ${address}`,
        );
      }
    }
  },
);
