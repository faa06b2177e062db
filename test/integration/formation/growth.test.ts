// SPDX-License-Identifier: Apache-2.0
/**
 * One server grows to three on a LAN that misbehaves, while a member writes all the time: the second is killed at each step of its join,
 * the third is cut off in the middle of its own, and what raises the streams is killed while it does. One set of machines for all.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { nodePaths } from "@debvisor/shared/node-files";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Formation, startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import { startLanWriter } from "../../support/lan-writer.ts";
import type { Machine } from "../../support/node-machine.ts";
import { waitFor } from "../../support/wait-for.ts";

const MINUTE = 60_000;
/** What a machine logs on its way, and the unit that is killed right then. */
const STEPS = [
  ["looking for a cluster", "join"],
  ["has proved itself to the other", "join"],
  ["admitted by", "nats"],
  ["the bus is up", "nats"],
  ["service started", "discovery"],
] as const;
const lacking = lanLacks();

interface Streams {
  readonly replicas: number[];
  readonly events: number;
}

/** What the nats-server of a machine says of its streams. */
async function streamsOf(machine: Machine): Promise<Streams> {
  const { server } = JSON.parse(readFileSync(nodePaths(machine.nodeDir).membership, "utf8")) as {
    server: { monitorPort: number };
  };
  const ask = `fetch("http://127.0.0.1:${server.monitorPort}/jsz?streams=1&config=1").then((r) => r.text()).then(console.log)`;
  const { stdout } = await machine.exec([process.execPath, "-e", ask]);
  if (stdout === "") return { replicas: [], events: 0 };
  const { account_details: accounts = [] } = JSON.parse(stdout) as {
    account_details?: {
      stream_detail?: { name: string; config: { num_replicas: number }; state: { messages: number } }[];
    }[];
  };
  const streams = accounts.flatMap(({ stream_detail = [] }) => stream_detail);
  return {
    replicas: [...new Set(streams.map(({ config }) => config.num_replicas))],
    events: streams.find(({ name }) => name === "DV_EVENTS")?.state.messages ?? 0,
  };
}

describe.skipIf(lacking.length > 0)(`growth (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let formation: Formation;
  let first: Machine;
  let written: Awaited<ReturnType<typeof startLanWriter>>;
  let acknowledged = 0;
  beforeAll(async () => {
    formation = await startFormation({ hosts: 3, servers: 1, preseed: () => ["founder: m1"] });
    first = await formation.add(0);
    await formation.untilWritable([first], MINUTE);
    written = await startLanWriter(formation.lan, first);
    await formation.declareServers(first, 3);
  }, 2 * MINUTE);
  afterAll(() => formation[Symbol.asyncDispose]());

  async function logs(machine: Machine, text: string, from = 0): Promise<void> {
    await waitFor(
      () => machine.log.slice(from).some((line) => line.includes(text)),
      MINUTE,
      () => `${machine.name} does not log "${text}"\n${formation.logs()}`,
    );
  }

  /** Whatever was acknowledged before is there; the writer goes on. */
  async function expectNothingLost(longestMs: number): Promise<void> {
    const { written: count, longestMs: gap } = await written();
    acknowledged += count;
    expect(count).toBeGreaterThan(0);
    expect(gap).toBeLessThan(longestMs);
    expect((await streamsOf(first)).events).toBeGreaterThanOrEqual(acknowledged);
    expect(formation.formations()).toHaveLength(1);
  }

  test("a server that is killed at each step of its join becomes a member all the same", {
    timeout: 5 * MINUTE,
  }, async () => {
    const second = await formation.add(1);
    for (const [step, unit] of STEPS) {
      await logs(second, step);
      await waitFor(
        () => second.units().includes(unit) && second.unit(unit).pid !== undefined,
        20_000,
        () => `${unit} does not run\n${second.tail()}`,
      );
      const killed = second.unit(unit);
      const before = killed.exits.length;
      killed.kill();
      await waitFor(
        () => killed.exits.length > before,
        5_000,
        () => `${unit} was not killed at "${step}"`,
      );
    }
    await formation.untilMembers(first, ["m1", "m2"], MINUTE);
    await formation.untilWritable([first, second], MINUTE);
    await expectNothingLost(60_000);
  });

  test("a server that is cut off in the middle of its join becomes a member after the LAN heals", {
    timeout: 5 * MINUTE,
  }, async () => {
    const third = await formation.add(2);
    await logs(third, "admitted by");
    await formation.lan.cut([0, 1], [2]);
    await sleep(8_000);
    expect(await formation.key.members(first)).toEqual(["m1", "m2"]);
    await formation.lan.heal();
    await formation.untilMembers(first, ["m1", "m2", "m3"], MINUTE);
    await expectNothingLost(30_000);
  });

  test("streams get three replicas although who raises them is killed and the halves are cut apart meanwhile", {
    timeout: 5 * MINUTE,
  }, async () => {
    for (const machine of formation.machines) machine.unit("discovery").kill();
    await sleep(1_500);
    await formation.lan.cut([0], [1, 2]);
    await sleep(5_000);
    await formation.lan.heal();
    let seen: number[] = [];
    await waitFor(
      async () => {
        seen = (await streamsOf(first)).replicas;
        return seen.join() === "3";
      },
      2 * MINUTE,
      () => `replicas: ${seen.join()}\n${formation.logs()}`,
    );
    await formation.untilWritable(formation.machines, MINUTE);
    await expectNothingLost(60_000);
  });
});
