// SPDX-License-Identifier: Apache-2.0
/** Plans are honest (GOALS.md B2): what they predict is what happens, and making one writes nothing. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Operation } from "@debvisor/proto-events/durable";
import { hostContract } from "@debvisor/proto-events/host";
import type { Maintenance } from "@debvisor/proto-events/maintenance";
import { systemClock } from "@debvisor/shared/clock";
import { createReader } from "@debvisor/shared/operation/reader";
import { newOperationId } from "@debvisor/shared/operation/submit";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MaintenanceEntry } from "../../../services/node-agent/reconcilers/maintenance-store.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { TortureBench } from "../../support/operation-torture-bench.ts";
import { TortureNode } from "../../support/operation-torture-node.ts";
import { waitFor } from "../../support/wait-for.ts";

const RUNS = 200;
const PATIENCE_MS = 120_000;
/** Calls that a question may make: reads, and the record that it was asked. */
const READS = new Set(["bus.request", "bucket.get", "audit.outcome", "audit.refusal"]);

const cluster = sharedBusCluster({ servers: 1 });
let bench: TortureBench;
let nodes: TortureNode[];
let cases = 0;

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  nodes = [1, 2].map((n) => new TortureNode(cluster(), `node-${n}`));
  for (const node of nodes) await node.start();
  bench.nodes.push(...nodes);
});
afterAll(() => bench.stop());

const content = fc.constantFrom("", "a\n", "b\n", "a longer content\n");
const mode = fc.constantFrom("0644", "0600", "0755");
const file = fc.option(fc.record({ content, mode }), { nil: null });
const fileWorlds = fc.record({
  before: fc.tuple(file, file),
  wanted: fc.option(fc.record({ content, mode: fc.option(mode, { nil: undefined }) }), { nil: null }),
});
const maintenanceWorlds = fc.record({
  held: fc.boolean(),
  verb: fc.constantFrom("enable" as const, "disable" as const),
  reason: fc.constantFrom(undefined, "disk swap"),
  until: fc.constantFrom(undefined, "90s", "2h"),
});

/** Asks for a plan, then has it applied by its digest. Answers the plan. */
async function planAndApply(
  type: string,
  input: Record<string, unknown>,
  look: () => unknown,
): Promise<{ readonly plan: Operation["plan"]; readonly id: string }> {
  const id = newOperationId();
  await using asker = await disposable(id);
  const before = look();
  const { plan } = (await asker.instance.submit(type, { ...input, mode: "plan" })) as Operation;
  await asker.instance.submit(type, { ...input, mode: "check" });
  expect(asker.instance.ports.calls.filter((call) => !READS.has(call))).toEqual([]);
  expect(look()).toEqual(before);
  expect(await bench.journal.read(id)).toEqual([]);
  await asker.instance.submit(type, { ...input, plan: plan.digest });
  await waitFor(
    async () => (await bench.read(id))?.closed === true,
    10_000,
    () => `${id} has not ended`,
  );
  expect((await bench.read(id))?.state).toBe("succeeded");
  return { plan, id };
}

async function disposable(id: string) {
  const instance = await bench.instance({ id, slot: 0 });
  return { instance, [Symbol.asyncDispose]: () => instance.stop() };
}

/** Everything about a folder that a write would change. */
function traces(node: TortureNode, folder: string): unknown {
  const top = path.join(node.identity.root, folder);
  return [top, ...readdirSync(top).map((name) => path.join(top, name))].map((one) => {
    const { mtimeMs, ctimeMs, ino } = statSync(one);
    return [one, mtimeMs, ctimeMs, ino];
  });
}

/** How the plan describes a file; owner and group are the test's own. */
async function described(node: TortureNode, name: string): Promise<string | null> {
  const { state } = await bench.bus.request(node.id, hostContract, "getFile", { path: name });
  return state && `${state.sizeBytes} bytes, sha256 ${state.sha256.slice(0, 12)}, ${state.mode}`;
}

const withoutOwner = (text: string | null) => text?.replace(/(, [0-7]{4}) .*$/, "$1") ?? null;

interface WantedFile {
  readonly content: string;
  readonly mode?: string | undefined;
}

/** A new folder on both nodes, with a file or none. Answers the path of the file. */
function makeFiles(before: readonly (WantedFile | null)[]): { readonly folder: string; readonly name: string } {
  const folder = `etc/plan-${++cases}`;
  const name = `/${folder}/motd`;
  for (const [i, node] of nodes.entries()) {
    mkdirSync(path.join(node.identity.root, folder));
    const there = before[i];
    if (!there) continue;
    writeFileSync(path.join(node.identity.root, name), there.content);
    chmodSync(path.join(node.identity.root, name), Number.parseInt(there.mode ?? "0644", 8));
  }
  return { folder, name };
}

function fileInput(name: string, wanted: WantedFile | null): readonly [string, Record<string, unknown>] {
  const selection = { nodes: "node-1,node-2" };
  if (!wanted) return ["host.remove-file", { ...selection, path: name }];
  const contentBase64 = Buffer.from(wanted.content).toString("base64");
  const fileMode = wanted.mode === undefined ? {} : { fileMode: wanted.mode };
  return ["host.put-file", { ...selection, to: name, contentBase64, ...fileMode }];
}

test("what a plan for files says is what happens, and making it writes nothing", { timeout: PATIENCE_MS }, async () => {
  await fc.assert(
    fc.asyncProperty(fileWorlds, async ({ before, wanted }) => {
      const { folder, name } = makeFiles(before);
      const look = () => Promise.all(nodes.map((node) => described(node, name)));
      const was = await look();
      const foldersWere = nodes.map((node) => node.folder(folder));
      const [type, input] = fileInput(name, wanted);

      const { plan } = await planAndApply(type, input, () => nodes.map((node) => traces(node, folder)));

      const now = await look();
      for (const [i, node] of nodes.entries()) {
        const effect = plan.effects.find(({ target }) => target === node.name);
        if (effect) expect([withoutOwner(effect.before), withoutOwner(effect.after)]).toEqual([was[i], now[i]]);
        else expect([node.folder(folder), now[i]]).toEqual([foldersWere[i], was[i]]);
        if (wanted) expect(readFileSync(path.join(node.identity.root, name), "utf8")).toBe(wanted.content);
        else expect(now[i]).toBeNull();
      }
    }),
    { numRuns: RUNS / 2 },
  );
});

const AGE_MS: Readonly<Record<string, number>> = { "90s": 90_000, "2h": 7_200_000 };

/** How the plan describes an entry after it. */
function enabled(entry: Maintenance | null, until: string | undefined): string | null {
  if (!entry) return null;
  const ms = entry.until === null ? undefined : Date.parse(entry.until) - Date.parse(entry.since);
  expect(ms).toBe(until === undefined ? undefined : AGE_MS[until]);
  return `${entry.reason ?? "no reason given"}${until === undefined ? "" : `, for ${until}`}`;
}

test("what a plan for maintenance says is what happens, and making it writes nothing", {
  timeout: PATIENCE_MS,
}, async () => {
  const bucket = await bench.bus.bucket("dv_maintenance", MaintenanceEntry);
  await fc.assert(
    fc.asyncProperty(maintenanceWorlds, async ({ held, verb, reason, until }) => {
      const node = bench.newName();
      const read = async () => (await bucket.get(node.id))?.value.maintenance ?? null;
      const before = { node: node.name, reason: "as before" };
      if (held) await planAndApply("maintenance.enable-maintenance", before, () => null);
      const was = await read();
      const more = verb === "enable" && until !== undefined ? { until } : {};
      const input = { node: node.name, ...(reason === undefined ? {} : { reason }), ...more };

      const { plan } = await planAndApply(`maintenance.${verb}-maintenance`, input, () => null);

      const now = await read();
      const [effect] = plan.effects;
      if (effect) {
        expect(effect.before).toBe(was && `held by tester: ${was.reason ?? "no reason given"}`);
        expect(effect.after).toBe(enabled(now, until));
      } else expect(now).toEqual(was);
    }),
    { numRuns: RUNS / 2 },
  );
});

test("planning that tries to change something is refused before anything is sent", async () => {
  const directory = { list: () => bench.directory() };
  const signal = new AbortController().signal;
  const reader = createReader({ bus: bench.bus, directory, clock: systemClock, log: cluster().log }, signal, {});
  const [node] = nodes;
  const look = () => node && traces(node, "etc");
  const before = look();

  const asked = reader.request(node?.id ?? "", hostContract, "writeFile", { path: "/etc/x", target: null });

  await expect(asked).rejects.toMatchObject({ code: "INTERNAL" });
  expect(look()).toEqual(before);
});
