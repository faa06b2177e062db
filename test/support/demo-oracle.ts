// SPDX-License-Identifier: Apache-2.0
/**
 * What must hold once nobody kills any more: every operation has ended, no lock is held, the nodes' files are what the final
 * states of the operations say, every intent of the trail has an outcome, the trail is proven, every event came once and in order.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { FINAL_STATES, Operation } from "@debvisor/proto-events/durable";
import { OperationSummary } from "@debvisor/proto-events/operation";
import { page } from "@debvisor/proto-events/replies";
import type { Chaos } from "./demo-chaos.ts";
import { checkEvents, slowestAdoption } from "./demo-events.ts";
import type { OwnerWatch } from "./demo-owners.ts";
import type { Attempt, Demo } from "./demo-run.ts";
import { checkTrail } from "./demo-trail.ts";
import { contentsOf, labNodes, litterBelow, type RestartWatch } from "./demo-world.ts";
import type { Follower } from "./kill-run.ts";

const Page = page(OperationSummary);
const END_MS = 90_000;
const REFUSED = /\((PLAN_STALE|LOCK_HELD|CHECK_FAILED|IN_MAINTENANCE|BLAST_RADIUS_EXCEEDED|BUDGET_SPENT)\)/;
const KEPT = new Set(["/etc/motd"]);

/** An operation of the run with what was asked for. */
export interface Ended {
  readonly operation: Operation;
  readonly attempt: Attempt | undefined;
}

/** What is judged. */
export interface Judged {
  readonly demo: Demo;
  readonly chaos: Chaos;
  readonly owners: OwnerWatch;
  readonly follower: Follower;
  readonly watch: RestartWatch;
}

/** Notes all that is wrong in `demo.problems`; returns figures for a person. */
export async function judge({ demo, chaos, owners, follower, watch }: Judged): Promise<string> {
  const startedAt = performance.now();
  const operations = await allEnded(demo);
  const endedMs = Math.round(performance.now() - startedAt);
  await noLocks(demo);
  checkFiles(demo, operations);
  checkRefusals(demo, operations);
  await checkMaintenance(demo, operations);
  await checkServices(demo);
  await checkEvents(demo, follower, operations);
  const { slowestMs, isLate, known, all } = slowestAdoption(follower, owners, chaos, watch, await labNodes(demo.lab));
  if (isLate) demo.wrong(`an orphan waited ${slowestMs} ms for a new owner`);
  const trail = await checkTrail(demo, operations);
  const slowest = demo.commands.toSorted((a, b) => b.ms - a.ms)[0];
  const states = count(operations.map(({ operation }) => operation.state));
  return [
    `${operations.length} operations (${states}), ${demo.commands.length} commands (exit codes ${count(demo.commands.map(({ code }) => String(code)))})`,
    `${chaos.kills.length} kills (${count(chaos.kills.map(({ part }) => part))})`,
    `slowest adoption ${slowestMs} ms after its owner's death (${known} of ${all} adoptions)`,
    `all ended ${endedMs} ms after the last command; ${trail}`,
    `slowest command ${Math.round(slowest?.ms ?? 0)} ms: ${slowest?.text.replaceAll(demo.folder, "")}`,
    ...demo.commands.filter(({ code }) => code !== 0).map((command) => failureOf(command).replaceAll(demo.folder, "")),
  ].join("\n");
}

function failureOf({ code, ms, text, stderr }: Demo["commands"][number]): string {
  const said = stderr.split("\n").filter((line) => line.startsWith("[ERROR]"));
  return `  exit ${code} after ${Math.round(ms)} ms: ${text.slice(0, 90)}: ${said.join(" ").slice(0, 240)}`;
}

function count(values: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].map(([value, times]) => `${value} ${times}`).join(", ");
}

async function allEnded(demo: Demo): Promise<readonly Ended[]> {
  const deadline = performance.now() + END_MS;
  for (;;) {
    const summaries = await listAll(demo);
    const open = summaries.filter(({ state }) => !FINAL_STATES.has(state));
    const stuck = open.filter(({ state }) => state === "stuck");
    const isLate = performance.now() > deadline;
    if (open.length === stuck.length || isLate) {
      for (const { id, state } of open) {
        const why = await demo.run([0, 4], ["operations", "why", id]);
        const shown = await demo.run([0, 4], ["operations", "show", id]);
        demo.wrong(`${id} is still ${state}: ${shown.stdout}`, why);
      }
      return await Promise.all(summaries.map(({ id }) => readOne(demo, id)));
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function listAll(demo: Demo): Promise<readonly OperationSummary[]> {
  const all: OperationSummary[] = [];
  let cursor: string | null = null;
  do {
    const more: string = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const { items, nextCursor } = Page.parse(await demo.ask(`/v1/operations?limit=100${more}`));
    all.push(...items);
    cursor = nextCursor;
  } while (cursor !== null);
  return all;
}

async function readOne(demo: Demo, id: string): Promise<Ended> {
  const operation = Operation.parse(await demo.ask(`/v1/operations/${id}`));
  const attempt = demo.attempts.find(({ tag }) => tag === operation.reason);
  if (attempt === undefined) demo.wrong(`nobody asked for ${id} (${operation.type}, ${operation.reason})`);
  return { operation, attempt };
}

async function noLocks(demo: Demo): Promise<void> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const { items } = await demo.ask<{ items: unknown[] }>("/v1/locks");
    if (items.length === 0) return;
    if (performance.now() > deadline) return demo.wrong(`locks are held: ${JSON.stringify(items)}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Each file is what the last operation that kept its effect on the node wrote, or there is none. */
function checkFiles(demo: Demo, operations: readonly Ended[]): void {
  const files = new Set(demo.attempts.flatMap(({ file }) => file ?? []));
  for (const file of files) {
    const own = operations
      .filter(({ attempt }) => attempt?.file === file)
      .toSorted((a, b) => (a.operation.createdAt ?? "").localeCompare(b.operation.createdAt ?? ""));
    const found = contentsOf(demo.roots, file, demo.names);
    for (const name of demo.names) {
      const last = own.findLast(({ operation }) => keptOn(operation, name));
      const wanted = last?.attempt?.wanted ?? null;
      if (found[name] !== wanted)
        demo.wrong(
          `${file} on ${name} is ${JSON.stringify(found[name])}, by its operations ${JSON.stringify(wanted)}: ${own
            .map(
              ({ operation: { id, state, targets } }) =>
                `${id} ${state} ${targets.map((t) => `${t.name} ${t.status}`)}`,
            )
            .join("; ")}`,
        );
    }
  }
  for (const [name, root] of demo.roots)
    for (const problem of litterBelow(root, (file) => files.has(file) || KEPT.has(file)))
      demo.wrong(`${name}: ${problem}`);
}

/** A command that was refused has begun nothing. */
function checkRefusals(demo: Demo, operations: readonly Ended[]): void {
  for (const command of demo.commands.filter(({ code, stderr }) => code !== 0 && REFUSED.test(stderr))) {
    const begun = operations.find(
      ({ operation, attempt }) =>
        attempt !== undefined && command.text.includes(`--reason ${attempt.tag} `) && operation.state !== "refused",
    );
    if (begun) demo.wrong(`refused, and yet ${begun.operation.id} is ${begun.operation.state}`, command);
  }
}

function keptOn({ state, targets }: Operation, name: string): boolean {
  if (state !== "succeeded" && state !== "failed") return false;
  const status = targets.find((target) => target.name === name)?.status;
  return status === "ok" || status === "unchanged";
}

async function checkMaintenance(demo: Demo, operations: readonly Ended[]): Promise<void> {
  const { items } = await demo.ask<{ items: { name: string; operation: string }[] }>("/v1/maintenance");
  for (const name of demo.names) {
    const last = operations
      .filter(({ operation: { type, state, targets, changed } }) => {
        const isOwn = type.startsWith("maintenance.") && targets.some((target) => target.name === name);
        return isOwn && state === "succeeded" && changed !== false;
      })
      .toSorted((a, b) => (a.operation.endedAt ?? "").localeCompare(b.operation.endedAt ?? ""))
      .at(-1)?.operation;
    const wanted = last?.type === "maintenance.enable-maintenance";
    if (items.some((item) => item.name === name) !== wanted)
      demo.wrong(`maintenance of ${name} is not what ${last?.id} (${last?.type}) left: ${JSON.stringify(items)}`);
  }
}

/** A service that ends by itself is a bug of its own; each node's log says how its services ended. */
async function checkServices(demo: Demo): Promise<void> {
  for (const { id, name } of await labNodes(demo.lab)) {
    const log = readFileSync(path.join(demo.lab.dataDir, "nodes", id, "node.log"), "utf8");
    for (const line of log.split("\n")) {
      if (line.includes("it is started again") && !line.includes("SIGKILL")) demo.wrong(`${name}: ${line}`);
      if (/unhandled|uncaught/i.test(line)) demo.wrong(`${name}: ${line.slice(0, 600)}`);
    }
  }
  writeFileSync(path.join(demo.folder, "problems.txt"), demo.problems.join("\n\n"));
}
