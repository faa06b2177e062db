// SPDX-License-Identifier: Apache-2.0
/**
 * A node agent that is killed while it writes a file, at any moment between the first line in its ledger and its answer: its
 * successor goes on with the same order, or undoes it, and nothing is left behind.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { hostContract } from "@debvisor/proto-events/host";
import type { Order } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { expect, test } from "vitest";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import type { ChildSettings } from "./node-child.ts";
import { identity, order } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });
const OLD = "old content\n";
const NEW = Buffer.alloc(250_000, "new content\n").toString("base64");
const KILLS = 12;

async function startChild(settings: string): Promise<ChildProcess> {
  const script = path.join(import.meta.dirname, "node-child.ts");
  const child = spawn(process.execPath, [script, settings], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

function stateOf(file: string, { operation }: Order): string {
  if (!existsSync(file)) return "nothing";
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const row = database.prepare("SELECT state FROM steps WHERE operation = ?").get(operation);
    return typeof row?.["state"] === "string" ? row["state"] : "nothing";
  } finally {
    database.close();
  }
}

function write(core: ConnectedBus, node: string, how: Order, timeoutMs: number) {
  const target = { contentBase64: NEW, mode: "0600", owner: null, group: null };
  return core.command(node, hostContract, "writeFile", { path: "/etc/motd", target }, how, { timeoutMs });
}

/** Resolves as soon as a draft or backup stands beside the file. */
async function firstSign(folder: string): Promise<void> {
  const deadline = performance.now() + 1_000;
  while (readdirSync(folder).length < 2 && performance.now() < deadline)
    await new Promise((resolve) => setImmediate(resolve));
}

test("a killed agent's successor ends what was begun, or undoes it, without a trace", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "dv-crash-"));
  const id = randomNodeId();
  const self = identity(id, dir);
  const etc = path.join(self.root, "etc");
  mkdirSync(etc, { recursive: true });
  const core = await cluster().connectCore("node-agent");
  const settings: ChildSettings = {
    id,
    servers: cluster().urls,
    credential: await cluster().issuer.forNode(id),
    signers: cluster().commandSigners,
    identity: self,
  };
  const file = path.join(dir, "settings.json");
  writeFileSync(file, JSON.stringify(settings));
  writeFileSync(path.join(etc, "motd"), OLD);
  chmodSync(path.join(etc, "motd"), 0o640);
  const seen: Record<string, number> = {};
  let child = await startChild(file);
  try {
    const warm = order();
    await write(core, id, warm, 10_000);
    await write(core, id, { ...warm, direction: "undo" }, 10_000);
    for (let i = 0; i < KILLS; i++) {
      const how = order();
      const lost = write(core, id, how, 1_000).catch(() => undefined);
      // Half of them at the first sign in the folder, the others from before the first line of the ledger until after the answer.
      if (i % 4 < 2) await firstSign(etc);
      else await new Promise((resolve) => setTimeout(resolve, 2 + i));
      await kill(child);
      await lost;
      const state = stateOf(path.join(self.stateDir, "ledger.sqlite"), how);
      seen[state] = (seen[state] ?? 0) + 1;
      child = await startChild(file);
      if (i % 2 === 0) {
        const answer = await write(core, id, { ...how, epoch: 2 }, 10_000);
        expect(answer).toMatchObject({
          changed: true,
          before: { sizeBytes: 12, mode: "0640" },
          after: { mode: "0600" },
        });
        expect(readdirSync(etc).sort()).toEqual(["motd", answer.backup]);
        expect(readFileSync(path.join(etc, "motd")).toString("base64")).toBe(NEW);
      }
      await write(core, id, { ...how, epoch: 3, direction: "undo" }, 10_000);
      expect(readdirSync(etc)).toEqual(["motd"]);
      expect(readFileSync(path.join(etc, "motd"), "utf8")).toBe(OLD);
      expect(statSync(path.join(etc, "motd")).mode & 0o7777).toBe(0o640);
    }
  } finally {
    await kill(child);
    await core.close();
    rmSync(dir, { recursive: true, force: true });
  }
  // Without a kill between the line in the ledger and the answer the test would show nothing.
  expect(seen["started"] ?? 0).toBeGreaterThan(0);
});
