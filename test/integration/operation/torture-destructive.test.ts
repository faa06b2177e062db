// SPDX-License-Identifier: Apache-2.0
/**
 * Every destructive durable operation against what must not pass (GOALS.md B13): a selection that is empty, an "all" that was not
 * said, a plan that the world has left behind, more targets of a failure domain than allowed. Nothing may happen, and the trail
 * says so. Prints the table.
 */
import { allOperations } from "@debvisor/proto-events/registry";
import type { DvError } from "@debvisor/shared/errors";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { TortureBench } from "../../support/operation-torture-bench.ts";
import { TortureNode } from "../../support/operation-torture-node.ts";
import { registryWorlds } from "../../support/operation-torture-registry.ts";
import { serviceOfType } from "../../support/operation-torture-services.ts";
import { waitFor } from "../../support/wait-for.ts";

const cluster = sharedBusCluster({ servers: 1 });
const destructive = allOperations().filter(({ spec }) => spec.durable && spec.effect === "destroy");
const table: string[] = [];
let bench: TortureBench;
let nodes: TortureNode[];

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  nodes = [1, 2].map((n) => new TortureNode(cluster(), `node-${n}`, { zone: "rack-a" }));
  for (const node of nodes) await node.start();
  bench.nodes.push(...nodes);
});
afterAll(async () => {
  await bench.stop();
  process.stdout.write(`${["operation                 case                         answer", ...table].join("\n")}\n`);
});

/** What is asked for, besides the selection. */
const REST: Readonly<Record<string, Record<string, unknown>>> = {
  "host.restart-service": { unit: "unit-a" },
  "host.remove-file": { path: "/etc/nothing" },
  "host.reboot-nodes": { back: "20s" },
  "discovery.remove-node": { reason: "torture" },
};

/** Name of a node that the operation could be asked about: one of the bench, or an entry of its own world. */
async function targetOf(type: string): Promise<string> {
  const world = registryWorlds().find((one) => one.type === type);
  const input = (await world?.fresh(bench))?.input as { readonly node?: string } | undefined;
  return input?.node ?? "node-1";
}

/** Asks, and answers the state or the code of the refusal, with the operation's id. */
async function ask(
  type: string,
  input: Record<string, unknown>,
): Promise<{ readonly answer: string; readonly id: string }> {
  const id = newOperationId();
  const instance = await bench.instance({ id, slot: 0, service: serviceOfType(type) });
  try {
    await instance.submit(type, input);
    await waitFor(
      async () => (await bench.read(id))?.closed === true,
      30_000,
      () => `${type} has not ended`,
    );
    return { answer: (await bench.read(id))?.state ?? "no log", id };
  } catch (error) {
    const { code, name } = error as DvError;
    return { answer: code ?? name, id };
  } finally {
    await instance.stop();
  }
}

function effects(): readonly unknown[] {
  return nodes.map((node) => [node.restarts(), node.boots, node.folder("etc")]);
}

test.each(destructive.map(({ service, wire, spec }) => [`${service}.${wire}`, spec] as const))(
  "%s refuses what was not meant",
  { timeout: 90_000 },
  async (type, spec) => {
    const rest = REST[type];
    if (!rest) throw new Error(`${type} is destructive and has no row here`);
    const field = spec.durable?.targets ?? "";
    const several = field === "nodes";
    const before = effects();
    const note = (what: string, answer: string) => table.push(`${type.padEnd(25)} ${what.padEnd(28)} ${answer}`);
    const refused = async (what: string, input: Record<string, unknown>, codes: readonly string[]) => {
      const { answer, id } = await ask(type, { ...rest, ...input });
      note(what, answer);
      expect(codes, `${what}: ${answer}`).toContain(answer);
      expect(await bench.journal.read(id), what).toEqual([]);
      expect(effects(), what).toEqual(before);
    };

    await refused("empty selection", { [field]: "" }, ["ZodError", "NO_TARGETS", "INVALID_ARGUMENT"]);
    await refused('"all" not said', {}, ["ZodError", "INVALID_ARGUMENT"]);
    await refused("matches nothing", { [field]: several ? "zone=nowhere" : "node-9" }, [
      "NO_TARGETS",
      "NODE_NOT_FOUND",
      "INVALID_ARGUMENT",
    ]);
    await refused("stale digest", { [field]: await targetOf(type), plan: "0".repeat(64) }, ["PLAN_STALE"]);
    // The entry that was made for this must not be among "all" of the next one.
    bench.names.length = 0;
    const most = spec.durable?.mostPerDomain;
    if (most === undefined) {
      note("over the limit", "it has no limit");
      return;
    }
    expect(nodes.length).toBeGreaterThan(most);
    await refused("over the limit", { [field]: "all" }, ["BLAST_RADIUS_EXCEEDED"]);
    const { answer, id } = await ask(type, { ...rest, [field]: "all", override: "kernel update" });
    note("over the limit, overridden", answer);
    expect(answer).toBe("succeeded");
    await waitFor(
      () => bench.trail(id).some(({ kind }) => kind === "outcome"),
      5_000,
      () => "the trail has no outcome",
    );
    expect(bench.trail(id).map(({ kind, override }) => [kind, override])).toEqual([
      ["intent", "kernel update"],
      ["outcome", "kernel update"],
    ]);
  },
);
