// SPDX-License-Identifier: Apache-2.0
/**
 * Somebody on the LAN names sixty addresses under a tag that was copied from a member: a machine that waits to join calls them at a bounded
 * rate, one call of an address at a time, and finds the true node all the same.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parsePreseed } from "@debvisor/shared/join/preseed";
import { silentLogger } from "@debvisor/shared/log";
import { expect, test } from "vitest";
import { joinMachine } from "../../../services/discovery/joining/join-machine.ts";
import { openMachine } from "../../../services/discovery/joining/machine.ts";
import { advertiseKeyOf } from "../../../services/discovery/membership-of.ts";
import { freePorts } from "../../support/free-ports.ts";
import { CLUSTER, SECRET, startPort } from "../join/rig.ts";
import { announcement, nodeId, rogueSender, until } from "./instance.ts";

const ADDRESSES = 60;
const PORTS = [1, 2, 3];
const WATCH_MS = 4_000;

test("places that mDNS alone names are dialled 20 times at once and five times a second, and the true node is found", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "dv-dials-"));
  const calls: { readonly at: number; readonly address: string }[] = [];
  const open = new Map<string, number>();
  let together = 0;
  const servers = await Promise.all(
    PORTS.map(async () => {
      const server = createServer((socket) => {
        const address = socket.localAddress ?? "";
        calls.push({ at: performance.now(), address });
        open.set(address, (open.get(address) ?? 0) + 1);
        together = Math.max(together, ...open.values());
        socket.on("error", () => undefined).on("close", () => open.set(address, (open.get(address) ?? 0) - 1));
        // Long enough that a second call of the same address would be seen.
        setTimeout(() => socket.destroy(), 20);
      });
      await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
      return server;
    }),
  );
  const portOf = (server: (typeof servers)[number]) => (server.address() as { port: number }).port;
  const [join = 0] = await freePorts(1);
  const preseed = parsePreseed(
    JSON.stringify({ cluster: CLUSTER, secret: SECRET.toString("base64"), servers: 3, role: "worker" }),
  );
  const machine = openMachine(dir, {
    name: "worker",
    role: "worker",
    listen: "127.0.0.1",
    ports: { ...preseed.ports, join },
  });
  const key = new Uint8Array(advertiseKeyOf({ cluster: CLUSTER, secret: SECRET.toString("base64") }));
  const asServer = (nid: string, port: number) => ({
    ...announcement(nid, { role: "server", st: "ready", host: nid }, key),
    port,
  });
  const stopping = new AbortController();
  await using member = await startPort();
  using rogue = await rogueSender();
  const joining = joinMachine({
    machine,
    preseed: { ...preseed, interfaces: ["127.0.0.1"] },
    log: silentLogger(),
    signal: stopping.signal,
  }).catch(() => undefined);
  try {
    await sleep(300);
    const startedAt = performance.now();
    for (let n = 0; n < ADDRESSES; n++)
      for (const [at, server] of servers.entries())
        await rogue.send(asServer(nodeId(`evil${"xyz"[at]}`, n), portOf(server)), `127.0.1.${n + 1}`);
    await sleep(WATCH_MS);
    const before = performance.now();
    const inSecond = calls.filter(({ at }) => at >= before - 1_000).length;
    const total = calls.length;

    const announced = performance.now();
    await rogue.send(asServer(member.self.id, member.port), "127.0.0.1");
    await until(() => member.seen.peers.length > 0, 10_000, "the true node is asked to let the machine in");
    const foundMs = performance.now() - announced;

    process.stdout.write(
      `${total} calls of ${ADDRESSES} addresses in ${Math.round(before - startedAt)} ms, ${inSecond} in the last second; the true node ${Math.round(foundMs)} ms\n`,
    );
    expect(total).toBeGreaterThan(20);
    expect(total).toBeLessThanOrEqual(20 + Math.ceil((before - startedAt) / 200));
    expect(inSecond).toBeGreaterThan(0);
    expect(inSecond).toBeLessThanOrEqual(6);
    expect(together).toBe(1);
    expect(foundMs).toBeLessThan(2_000);
  } finally {
    stopping.abort();
    await joining;
    for (const server of servers) server.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
