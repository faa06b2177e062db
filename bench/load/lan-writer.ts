// SPDX-License-Identifier: Apache-2.0
/**
 * Writes events to the bus as a member does, one every ten milliseconds: `lan-writer.ts <node folder>`. For each line on standard input
 * it prints how many were acknowledged since the last one, and the longest time between two acknowledgements in milliseconds.
 */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { connectBus } from "@debvisor/shared/bus/connect";
import { DvError } from "@debvisor/shared/errors";
import { createLogger } from "@debvisor/shared/log";
import { busTls, readCredential, readMembership, readNode } from "@debvisor/shared/node-files";
import { VERSION } from "@debvisor/shared/version";

const INTERVAL_MS = 10;
const PATIENCE_MS = 60_000;

const [, , dir = ""] = process.argv;
const node = readNode(dir);
const membership = readMembership(dir);
if (!membership) throw new DvError("UNAVAILABLE", `${dir} is the folder of no member.`);
const tls = busTls(dir);
const bus = await connectBus({
  ...(tls ? { tls } : {}),
  servers: membership.busServers,
  credential: readCredential(dir, "node", node.id),
  origin: node.id,
  node,
  version: VERSION,
  log: createLogger({ level: "error", destination: 2 }),
  patienceMs: PATIENCE_MS,
});

let written = 0;
let longestMs = 0;
createInterface({ input: process.stdin }).on("line", () => {
  process.stdout.write(`${JSON.stringify({ written, longestMs })}\n`);
  written = 0;
  longestMs = 0;
});

const payload = { node: node.id, name: node.name, version: VERSION, bootId: "bench" };
let acknowledgedAt: number | undefined;
for (let pid = 1; ; pid++) {
  const began = performance.now();
  const event = { ...payload, pid };
  await bus.publishEvent(nodeAgentContract, "agent.started", event, { subject: node.id, patienceMs: PATIENCE_MS });
  const now = performance.now();
  longestMs = Math.max(longestMs, now - (acknowledgedAt ?? began));
  acknowledgedAt = now;
  written++;
  await sleep(Math.max(0, INTERVAL_MS - (now - began)));
}
