// SPDX-License-Identifier: Apache-2.0
/**
 * Rotations during each step of which a process is killed: discovery where the operation runs and elsewhere, and a nats-server. Each
 * ends as done or as undone, everybody agrees with that, and no acknowledged event is lost. Prints the table.
 */
import { readNode } from "@debvisor/shared/node-files";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collectIds, EventPublisher } from "../support/event-traffic.ts";
import type { LabNodeStatus, LocalCluster } from "../support/local-cluster.ts";
import { Rotation } from "../support/rotation.ts";
import { waitFor } from "../support/wait-for.ts";

const STEPS = ["add", "issue", "remove"] as const;
const VICTIMS = ["discovery of the owner", "discovery of another", "nats-server"] as const;
const LIMIT = { timeout: 240_000 };
const table: string[] = [];
let lab: LocalCluster;
let rotation: Rotation;

beforeAll(async () => {
  rotation = await Rotation.start();
  lab = rotation.lab;
}, 120_000);
afterAll(async () => {
  process.stdout.write(`${["step    killed                  ended        ms until all agree", ...table].join("\n")}\n`);
  await lab?.[Symbol.asyncDispose]();
});

/** Process id of a victim; `owner` is the node that runs the operation. */
function pidOf(nodes: readonly LabNodeStatus[], victim: (typeof VICTIMS)[number], owner: string): number {
  const servers = nodes.filter(({ natsPid }) => natsPid !== null);
  const own = servers.find(({ id }) => id === owner);
  const other = servers.find(({ id }) => id !== owner);
  const node = victim === "discovery of another" ? other : own;
  const pid = victim === "nats-server" ? node?.natsPid : node?.services.find(({ name }) => name === "discovery")?.pid;
  if (!pid) throw new Error(`${victim} does not run; the owner is ${owner}`);
  return pid;
}

test.each(STEPS.flatMap((step) => VICTIMS.map((victim) => [step, victim] as const)))(
  "in step %s: %s is killed",
  LIMIT,
  async (step, victim) => {
    const before = await settled();
    const reader = await rotation.connect(2, "node-agent");
    const collected = await collectIds(reader);
    const writer = await rotation.connect(4, "node");
    const publisher = new EventPublisher(writer, readNode(rotation.dir(4)).id);
    // Looked up before: a rotation takes little more than a second.
    const nodes = await lab.nodes();
    const { body } = await rotation.submit();
    const owner = readNode(rotation.dir(await rotation.ownerOf(body["id"]))).id;
    const pid = pidOf(nodes, victim, owner);
    const wanted = before.generation + 1 + STEPS.indexOf(step);
    await waitFor(
      async () => (((await rotation.show(2)) ?? (await rotation.show(3)))?.generation ?? 0) >= wanted,
      30_000,
      () => `generation ${wanted} never came`,
    );
    process.kill(pid, "SIGKILL");
    const startedAt = performance.now();
    const ended = await rotation.untilEnded(body["id"], 180_000);
    const after = await settled();
    const ms = Math.round(performance.now() - startedAt);
    await publisher.more(20);
    const written = await publisher.stop();

    expect(["succeeded", "rolled-back", "failed"]).toContain(ended["state"]);
    const isNew = after.fingerprint !== before.fingerprint;
    if (ended["state"] === "succeeded") expect(isNew).toBe(true);
    if (ended["state"] === "rolled-back") expect(isNew).toBe(false);
    const lost = () => written.filter((id) => !collected.ids.includes(id)).length;
    await waitFor(
      () => lost() === 0,
      20_000,
      () => `of ${written.length} acknowledged events ${lost()} are lost`,
    );
    table.push(
      `${step.padEnd(7)} ${victim.padEnd(23)} ${String(ended["state"]).padEnd(12)} ${ms} (longest gap of the writer ${Math.round(publisher.longestMs)} ms)`,
    );
    await Promise.all([collected.stop(), reader.close(), writer.close()]);
  },
);

/** Waits until everybody agrees on one authority; one that broke off on its way forward is finished by another rotation. */
async function settled(): Promise<{ readonly generation: number; readonly fingerprint: string }> {
  let said = "nothing is shown";
  let found = { generation: 0, fingerprint: "" };
  await waitFor(
    async () => {
      const shown = (await rotation.show(1)) ?? (await rotation.show(2));
      const [first, second] = shown?.authorities ?? [];
      if (!shown || !first) return false;
      const checked = await rotation.submit({ mode: "check" }).catch(() => undefined);
      const faults = second ? ["two are believed"] : rotation.unsettled(first.fingerprint);
      if (second && checked?.body["state"] === "checked") await rotation.submit().catch(() => undefined);
      said = [...faults, JSON.stringify(checked?.body["code"] ?? "")].join("; ");
      found = { generation: shown.generation, fingerprint: first.fingerprint };
      return faults.length === 0 && checked?.body["state"] === "checked";
    },
    90_000,
    () => said,
  );
  return found;
}
