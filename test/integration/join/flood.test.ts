// SPDX-License-Identifier: Apache-2.0
/** A thousand attempts a second: the machine that comes once gets in all the same, and memory stays bounded. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { DvError } from "@debvisor/shared/errors";
import { expect, test } from "vitest";
import { join, SECRET } from "./rig.ts";

/** See test/integration/discovery/flood.test.ts: what V8 keeps of short-lived objects says nothing of what a flood makes us keep. */
const NODE_FLAGS = ["--expose-gc", "--max-semi-space-size=4"];
const FLOOD_MS = 3_000;
/** 64 connections with TLS take 20 MB, and no more come however long it lasts; all 3,000 of a flood would take 900 MB. */
const GROWTH_MB = 40;

/** A process of flood-child.ts, and the lines that it prints. */
function start(...args: readonly string[]) {
  const file = fileURLToPath(new URL("flood-child.ts", import.meta.url));
  const child = spawn(process.execPath, [...NODE_FLAGS, file, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => JSON.parse((await lines.next()).value ?? "{}") as Record<string, number>;
  const ask = () => {
    child.stdin.write("\n");
    return line();
  };
  return { line, ask, [Symbol.asyncDispose]: () => ended(child) };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** Joins as a machine does: tries again when the connection was dropped. Milliseconds until it was in. */
async function joinMs(port: number): Promise<number> {
  const began = performance.now();
  for (;;) {
    try {
      await join(port);
      return performance.now() - began;
    } catch (error) {
      if (!(error instanceof DvError) || error.code !== "JOIN_UNREACHABLE") throw error;
      await sleep(100);
    }
  }
}

test.each([
  { name: "wrong secrets from 8 addresses", addresses: 8, how: "wrong" },
  { name: "connections that are held open, from 100 addresses", addresses: 100, how: "hold" },
])("flood: 1,000 a second of $name keep no honest machine out and memory bounded", async ({ name, addresses, how }) => {
  await using port = start("listen", SECRET.toString("hex"));
  const { port: number = 0 } = await port.line();
  const quiet = Math.max(await joinMs(number), await joinMs(number), await joinMs(number));
  const before = await port.ask();

  await using rogue = start("attack", String(number), String(addresses), "1000", String(FLOOD_MS), how);
  await rogue.line();
  const times: number[] = [];
  for (let turn = 0; turn < 4; turn++) {
    await sleep(FLOOD_MS / 6);
    times.push(await joinMs(number));
  }
  const count = await rogue.line();
  const after = await port.ask();

  const worst = Math.max(...times);
  const growth = (after["rssMb"] ?? 0) - (before["rssMb"] ?? 0);
  process.stdout.write(
    `${name}: ${count["began"]} attempts, ${count["secured"]} reached TLS, ${count["refused"]} refused; honest join ` +
      `${times.map((ms) => ms.toFixed(0)).join(", ")} ms (quiet ${quiet.toFixed(0)} ms); memory +${growth.toFixed(1)} MB\n`,
  );
  expect(count["began"]).toBeGreaterThan(2_900);
  expect(worst - quiet).toBeLessThan(2_000);
  expect(after["peers"]).toBe(7);
  expect(growth).toBeLessThan(GROWTH_MB);
});
