// SPDX-License-Identifier: Apache-2.0
/**
 * Zero-touch formation in network namespaces, with the programs of the units: from power-on of machines that have nothing but a preseed
 * file until the first gateway takes a write, until each does, and until every worker is a member.
 */
import { startFormation } from "../../test/support/formation.ts";
import { lanLacks } from "../../test/support/lan-namespaces.ts";
import { untilMember } from "../../test/support/node-machines.ts";
import { type Measure, type MeasureContext, median, round } from "../measure.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

const SERVERS = 3;
const SIZES = [SERVERS, 10, 25];
/** A formation of three takes from 4.5 to 5.7 s on two cores; one alone says little. */
const REPEATS = 5;
const WRITABLE_GOAL_S = 5;
const PATIENCE_MS = 120_000;

export const formation: Measure = {
  name: "formation",
  summary: "power-on to writable in network namespaces: 3 machines, then 10 and 25 of which all but 3 are workers",
  async run(context) {
    const lacking = lanLacks();
    if (lacking.length > 0) throw new Error(`lacking here: ${lacking.join(", ")}`);
    for (const hosts of context.quick ? SIZES.slice(0, 1) : SIZES)
      await measure(context, hosts, hosts === SERVERS && !context.quick ? REPEATS : 1);
  },
};

async function measure({ report, say }: MeasureContext, hosts: number, repeats: number): Promise<void> {
  const times: Times[] = [];
  for (let n = 0; n < repeats; n++) {
    const time = await form(hosts);
    times.push(time);
    say(`${hosts} machines: first write ${time.first} s, on each server ${time.all} s, all members ${time.members} s`);
  }
  const ours = median(times.map(({ all }) => all));
  report({
    measure: `formation/${hosts}`,
    bare: null,
    ours,
    ratio: hosts === SERVERS ? round(ours / WRITABLE_GOAL_S) : null,
    goal:
      hosts === SERVERS
        ? `<= ${WRITABLE_GOAL_S} s from power-on until each server takes writes`
        : "none; all machines share the cores of one",
    met: hosts > SERVERS || ours <= WRITABLE_GOAL_S,
    unit: "s",
    n: repeats,
    firstWrite: median(times.map(({ first }) => first)),
    allMembers: median(times.map(({ members }) => members)),
  });
}

/** Seconds from power-on. */
interface Times {
  readonly first: number;
  readonly all: number;
  readonly members: number;
}

async function form(hosts: number): Promise<Times> {
  await using formation = await startFormation({ hosts });
  const forget = stopOnSignal(() => formation[Symbol.asyncDispose]());
  const startedAt = performance.now();
  const servers = formation.addAll(0, 1, 2);
  const workers = Promise.all(
    Array.from({ length: hosts - SERVERS }, (_, i) => formation.add(i + SERVERS, ["role: worker"])),
  );
  const machines = await servers;
  const writable = machines.map((machine) => formation.untilWritable([machine], PATIENCE_MS));
  const first = await Promise.any(writable);
  const all = Math.max(...(await Promise.all(writable)));
  await Promise.all((await workers).map((worker) => untilMember(worker, PATIENCE_MS)));
  const members = performance.now();
  forget();
  const seconds = (at: number) => round((at - startedAt) / 1_000);
  return { first: seconds(first), all: seconds(all), members: seconds(members) };
}
