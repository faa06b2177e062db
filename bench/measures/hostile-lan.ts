// SPDX-License-Identifier: Apache-2.0
/**
 * A hostile host on the LAN of a cluster: how much longer an honest machine takes to join while the host tries wrong secrets a thousand
 * times a second, and how much memory ten thousand of its false mDNS records cost. Network namespaces, the programs of the units.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Formation, startFormation } from "../../test/support/formation.ts";
import { ip, lanLacks } from "../../test/support/lan-namespaces.ts";
import { untilMember } from "../../test/support/node-machines.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { mebibytes, residentBytes } from "../environment/limits.ts";
import { type Measure, type MeasureContext, median, round } from "../measure.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

const SLOWER_GOAL_S = 2;
const GROWTH_GOAL_MB = 20;
const TRIES_PER_SECOND = 1_000;
const RECORDS = 10_000;
const SERVERS = [0, 1, 2];
const HOSTILE = 3;
const FIRST_WORKER = 4;
/** So many addresses of its own, because a port lets each source try only five times a second. */
const SOURCES = 32;
const PATIENCE_MS = 60_000;
/** The first minute of a service's life makes its heap grow by itself. */
const SETTLE_MS = 10_000;

const ATTACKER = fileURLToPath(new URL("../load/join-attacker.ts", import.meta.url));
const ADVERTISER = fileURLToPath(new URL("../../test/support/rogue-advertiser.ts", import.meta.url));

export const hostileLan: Measure = {
  name: "hostile-lan",
  summary: "join while a host tries 1,000 wrong secrets a second, and memory under 10,000 false mDNS records",
  async run(context) {
    const lacking = lanLacks();
    if (lacking.length > 0) throw new Error(`lacking here: ${lacking.join(", ")}`);
    const rounds = context.quick ? 1 : 3;
    await using formation = await startFormation({ hosts: FIRST_WORKER + 2 * rounds });
    const forget = stopOnSignal(() => formation[Symbol.asyncDispose]());
    await formation.untilWritable(await formation.addAll(...SERVERS), PATIENCE_MS);
    await joinUnderAttack(context, formation, rounds);
    await memoryUnderRecords(context, formation);
    forget();
  },
};

async function joinUnderAttack(context: MeasureContext, formation: Formation, rounds: number): Promise<void> {
  const times = { quiet: [] as number[], attacked: [] as number[] };
  let worker = FIRST_WORKER;
  let tries = { began: 0, secured: 0, refused: 0 };
  for (let turn = 0; turn < rounds; turn++) {
    times.quiet.push(await joinS(formation, worker++));
    const attack = await startAttack(formation);
    const before = attack.tries();
    const [seconds, at] = [await joinS(formation, worker++), attack.tries()];
    times.attacked.push(seconds);
    tries = { began: at.began - before.began, secured: at.secured, refused: at.refused };
    await attack.stop();
  }
  const slower = round(median(times.attacked) - median(times.quiet));
  context.say(`join: ${times.quiet.join(", ")} s; under attack ${times.attacked.join(", ")} s`);
  context.report({
    measure: "hostile-lan/join",
    bare: median(times.quiet),
    ours: median(times.attacked),
    ratio: round(slower / SLOWER_GOAL_S),
    goal: `<= ${SLOWER_GOAL_S} s slower than without the attack`,
    met: slower <= SLOWER_GOAL_S,
    unit: "s",
    n: rounds,
    slower,
    triesASecond: TRIES_PER_SECOND,
    triesWhileJoining: tries.began,
    triesThatReachedTls: tries.secured,
  });
}

/** Seconds from power-on of a worker until it is a member. */
async function joinS(formation: Formation, host: number): Promise<number> {
  const startedAt = performance.now();
  const machine = await formation.add(host, ["role: worker"]);
  await untilMember(machine, PATIENCE_MS);
  const seconds = round((performance.now() - startedAt) / 1_000);
  // The services of a machine that has just joined would compete with the next one's start.
  await machine.powerOff();
  return seconds;
}

async function startAttack({ lan }: Formation) {
  const sources = Array.from({ length: SOURCES }, (_, n) => `10.77.0.${200 + n}`);
  const places = SERVERS.map((host) => lan.address(host));
  const known = (await lan.exec(HOSTILE, ["ip", "-o", "addr"])).stdout;
  const missing = sources.filter((source) => !known.includes(` ${source}/`));
  if (missing.length > 0) {
    await ip(
      lan.namespace(HOSTILE),
      missing.map((source) => `addr add ${source}/24 dev eth0`),
    );
  }
  const argv = [process.execPath, ATTACKER, String(TRIES_PER_SECOND), sources.join(), places.join()];
  const child = lan.spawn(HOSTILE, argv);
  let [last, said] = ["", ""];
  child.stdout?.on("data", (text) => (last = String(text).trim().split("\n").at(-1) ?? ""));
  child.stderr?.on("data", (text) => (said += String(text)));
  const tries = () => JSON.parse(last || "{}") as { began: number; secured: number; refused: number };
  await waitFor(
    () => (tries().refused ?? 0) > 0,
    PATIENCE_MS,
    () => `the attack does not begin: ${last} ${said}`,
  );
  return {
    tries,
    stop: async () => {
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function memoryUnderRecords(context: MeasureContext, formation: Formation): Promise<void> {
  const machines = SERVERS.map((host) => formation.machines[host]).filter((machine) => machine !== undefined);
  const resident = () => machines.map((machine) => residentBytes(machine.unit("discovery").pid));
  await sleep(SETTLE_MS);
  const before = resident();
  const rogue = formation.lan.spawn(HOSTILE, [
    process.execPath,
    ADVERTISER,
    formation.lan.address(HOSTILE),
    String(RECORDS),
  ]);
  let said = "";
  for (const stream of [rogue.stdout, rogue.stderr]) stream?.on("data", (text) => (said += String(text)));
  let peaks = before;
  await waitFor(
    () => {
      peaks = resident().map((bytes, at) => Math.max(bytes, peaks[at] ?? 0));
      return said.includes("\n");
    },
    PATIENCE_MS,
    () => `the records were not sent: ${said}`,
  );
  rogue.kill("SIGKILL");
  const growths = peaks.map((bytes, at) => mebibytes(bytes - (before[at] ?? 0)));
  const worst = Math.max(...growths);
  context.say(`discovery of each server: ${before.map(mebibytes).join(", ")} MB, then +${growths.join(", +")} MB`);
  context.report({
    measure: "hostile-lan/memory",
    bare: mebibytes(Math.max(...before)),
    ours: mebibytes(Math.max(...peaks)),
    ratio: round(worst / GROWTH_GOAL_MB),
    goal: `+${GROWTH_GOAL_MB} MB at most under ${RECORDS} false mDNS records`,
    met: worst <= GROWTH_GOAL_MB,
    unit: "MiB",
    n: RECORDS,
    growths,
  });
}
