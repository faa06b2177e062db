// SPDX-License-Identifier: Apache-2.0
/** Ten thousand rogue records: memory stays bounded, the event stream would not be flooded, and the true node is found. */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createMdns } from "@debvisor/shared/drivers/mdns";
import { expect, test } from "vitest";
import { announcement, nodeId, rogueSender } from "./instance.ts";

const ROGUES = 10_000;
/**
 * V8 doubles its young generation, up to 32 MB, under any burst of short-lived objects, sooner on a busy machine; that says
 * nothing of what a flood makes us keep (the heap grows by 0.7 MB). Without the flag resident memory grows by 12 to 28 MB.
 */
const NODE_FLAGS = ["--expose-gc", "--max-semi-space-size=4"];

test("ten thousand rogue records cost less than 20 MB and 40 events, and the true node is found within 10 s", async () => {
  const file = fileURLToPath(new URL("flood-child.ts", import.meta.url));
  const child = spawn(process.execPath, [...NODE_FLAGS, file, nodeId("true", 1)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => JSON.parse((await lines.next()).value ?? "{}") as Record<string, number>;
  const node = await createMdns({ interfaces: ["127.0.0.1"], onError: () => undefined });
  let packets = 0;
  const counter = createSocket({ type: "udp4", reuseAddr: true }).on("message", () => packets++);
  counter.bind(5353, "0.0.0.0", () => counter.addMembership("224.0.0.251", "127.0.0.1"));
  try {
    await answer();

    const flood = sendRogues();
    node.advertise(announcement(nodeId("true", 1)));
    const { foundMs } = await answer();
    await flood;
    child.stdin.write("report\n");
    const report = await answer();

    expect(foundMs).toBeLessThan(10_000);
    expect(packets, "most of the flood was on the wire").toBeGreaterThan(ROGUES * 0.8);
    expect(report["growthMb"]).toBeLessThan(20);
    expect(report["heapGrowthMb"]).toBeLessThan(5);
    expect(report["candidates"]).toBeLessThanOrEqual(256);
    expect(report["peers"]).toBeLessThanOrEqual(64);
    expect(report["events"]).toBeLessThanOrEqual(40);
    expect(report["trueNode"], "the true node is still known after the flood").toBe(1);
  } finally {
    counter.close();
    child.kill();
    await node.close();
  }
});

/** Sends each rogue's records once, in bursts that the receiver's socket buffer can hold. */
async function sendRogues(): Promise<void> {
  using rogue = await rogueSender();
  for (let n = 0; n < ROGUES; n++) {
    const tag = n.toString(16).padStart(16, "0");
    await rogue.send(announcement(nodeId("evil", n), { tag, host: `rogue-${n}` }), `127.0.${n % 256}.9`);
    if (n % 25 === 24) await sleep(5);
  }
}
