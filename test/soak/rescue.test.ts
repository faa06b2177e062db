// SPDX-License-Identifier: Apache-2.0
/**
 * The rescue of a lone survivor where it hurts: killed at each of its steps, and of a server that has in its log alone what the lost
 * leader acknowledged.
 */
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, rmSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { lowerReplicas } from "@debvisor/shared/bus/admin";
import { connectSystem } from "@debvisor/shared/bus/system";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { type LoneServer, startLone } from "@debvisor/shared/nats-server/lone";
import { peerIdOf } from "@debvisor/shared/nats-server/process";
import { describe, expect, test } from "vitest";
import { RESCUE_STEPS } from "../../services/discovery/joining/rescue-journal.ts";
import { NATS_CACHE_DIR } from "../../tools/paths.ts";
import { type BusCluster, randomNodeId, startBusCluster } from "../support/bus-cluster.ts";
import { type BusServer, freePorts } from "../support/bus-server.ts";
import { startFormation } from "../support/formation.ts";
import { lanLacks } from "../support/lan-namespaces.ts";
import type { Machine } from "../support/node-machine.ts";
import { startUnits } from "../support/node-machines.ts";
import {
  dvctl,
  journalOf,
  killedRescue,
  loseMachine,
  stopTarget,
  untilReplicated,
  writeContext,
} from "../support/rescue.ts";
import { waitFor } from "../support/wait-for.ts";

const MINUTE = 60_000;
const OFF = ["m2", "m3"];
const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`a rescue (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  test("that is killed at any step ends when it is started again, with all that was acknowledged", {
    timeout: 20 * MINUTE,
  }, async () => {
    await using formation = await startFormation({ hosts: 3 });
    const machines = (await formation.addAll(0, 1, 2)) as [Machine, Machine, Machine];
    const [survivor, ...others] = machines;
    await formation.untilWritable(machines, 2 * MINUTE);
    await untilReplicated(formation, 2 * MINUTE);
    writeContext(formation, survivor);
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
});

test("what the lost leader acknowledged is kept although the survivor had not applied it", {
  timeout: 5 * MINUTE,
}, async () => {
  const cluster = await startBusCluster({ servers: 3 });
  const { survivor, dir, acknowledged } = await loseLeaderWhileWriting(cluster);
  const lone = await startAlone(cluster, survivor, dir);
  try {
    const system = await connectSystem(lone.url, await cluster.issuer.forRescue(randomNodeId()), 10_000);
    const own = survivor.name;
    const isAlone = async () => {
      const group = await lone.group();
      if (group && group.leader !== own && group.quorum > 1) await system.lowerQuorum();
      const lost = group?.ids.filter((id) => id !== peerIdOf(own)) ?? [];
      if (group?.leader === own && lost[0] !== undefined) {
        await system.removeLost(lost[0]);
        await sleep(500);
      }
      return group?.leader === own && group.size === 1;
    };
    await waitFor(isAlone, MINUTE, () => lone.logTail());
    const { manager } = await cluster.admin();
    await lowerReplicas(manager, MINUTE);

    const { state } = await manager.streams.info("KV_dv_members", { subjects_filter: ">" });
    const stored = new Set(Object.keys(state.subjects ?? {}));
    const missing = acknowledged.filter((key) => !stored.has(`$KV.dv_members.${key}`));
    process.stdout.write(`[INFO] ${acknowledged.length} acknowledged, ${missing.length} missing\n`);
    expect(acknowledged.length).toBeGreaterThan(100);
    expect(missing).toEqual([]);
    await system.close();
  } finally {
    await lone.stop();
  }
});

/** Twenty writers at once; one follower does not take part, so that whatever is acknowledged is on the survivor's disk too. */
async function loseLeaderWhileWriting(
  cluster: BusCluster,
): Promise<{ survivor: BusServer; dir: string; acknowledged: string[] }> {
  const { manager, bus } = await cluster.admin();
  const leaderName = (await manager.streams.info("KV_dv_members")).cluster?.leader;
  const leader = cluster.servers.find(({ name }) => name === leaderName);
  const [survivor, silent] = cluster.servers.filter(({ name }) => name !== leaderName);
  if (!leader?.pid || !survivor?.pid || !silent?.pid) throw new Error("the stream has no leader");
  const dir = path.join(cluster.dir, String(cluster.servers.indexOf(survivor)));
  const writer = await cluster.connectCore("discovery", { servers: [leader.url] });
  process.kill(silent.pid, "SIGSTOP");
  const acknowledged: string[] = [];
  let count = 0;
  let isOver = false;
  const write = async () => {
    while (!isOver) {
      const key = `k${count++}`;
      const reply = await writer.connection.request(`$KV.dv_members.${key}`, "x", { timeout: 2_000 }).catch(() => null);
      if (typeof reply?.json<{ seq?: number }>().seq === "number") acknowledged.push(key);
    }
  };
  const writers = Array.from({ length: 20 }, write);
  await sleep(1_500);
  for (const server of [leader, silent, survivor]) {
    server.kill();
    void server.stop();
  }
  isOver = true;
  await Promise.all(writers);
  await Promise.all([writer.close(), bus.close()]);
  await Promise.all(cluster.servers.filter((server) => server !== survivor).map((server) => cluster.retire(server)));
  return { survivor, dir, acknowledged };
}

async function startAlone(cluster: BusCluster, survivor: BusServer, dir: string): Promise<LoneServer> {
  const { path: binary } = await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined });
  const [a = 0, b = 0, c = 0, monitorPort = 0] = await freePorts(4);
  const portOf = (place: string) => Number(place.split(":")[1]);
  return await startLone({
    binary,
    dir,
    settings: {
      serverName: survivor.name,
      port: portOf(survivor.url),
      clusterPort: portOf(survivor.route),
      monitorPort,
      clusterName: "test",
      trust: cluster.trust,
      routePassword: randomBytes(24).toString("hex"),
    },
    helperPorts: [a, b, c],
  });
}
