// SPDX-License-Identifier: Apache-2.0
/**
 * The two sides of the flood, each in a process of its own. `listen`: a join port; prints its port, and its memory whenever a line
 * comes on standard input. `attack <port> <addresses> <per second> <ms> <wrong|hold>`: connections from 127.0.1.1 and so on, which
 * show a wrong proof or none at all; prints how many began and how many got as far as TLS.
 */
import { randomBytes } from "node:crypto";
import { connect as connectTcp } from "node:net";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { FrameStream } from "@debvisor/shared/join/frames";
import { joinTls } from "@debvisor/shared/join/session";
import { machine, startPort } from "./rig.ts";

const [role, ...args] = process.argv.slice(2);
const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const memory = () => {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return { rssMb: rss / 1024 / 1024, heapMb: heapUsed / 1024 / 1024 };
};

if (role === "listen") await listen(args[0] ?? "");
else await attack();

async function listen(secret: string): Promise<void> {
  const port = await startPort({ secret: () => Buffer.from(secret, "hex"), limits: {} });
  print({ port: port.port });
  for await (const _ of createInterface({ input: process.stdin }))
    print({ ...memory(), peers: port.seen.peers.length });
  await port.stop();
}

async function attack(): Promise<void> {
  const [port = 0, addresses = 1, perSecond = 1, ms = 0] = args.slice(0, 4).map(Number);
  const tls = await joinTls(machine().pem);
  const count = { began: 0, secured: 0, refused: 0 };
  const began = performance.now();
  print({ ready: 1 });
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsed = performance.now() - began;
      for (; count.began < (Math.min(elapsed, ms) * perSecond) / 1_000; count.began++) attempt(count.began % addresses);
      if (elapsed < ms) return;
      clearInterval(timer);
      resolve();
    }, 5);
  });
  print(count);
  process.exit(0);

  function attempt(turn: number): void {
    const raw = connectTcp({ host: "127.0.0.1", port, localAddress: `127.0.${1 + (turn >> 7)}.${1 + (turn & 127)}` });
    raw.on("error", () => undefined);
    raw.once("connect", () => {
      const socket = connect({ socket: raw, ...tls, rejectUnauthorized: false });
      socket.on("error", () => undefined);
      socket.once("secureConnect", () => {
        count.secured++;
        if (args[4] === "wrong") void lie(new FrameStream(socket)).finally(() => socket.destroy());
      });
    });
  }

  async function lie(stream: FrameStream): Promise<void> {
    const nonce = randomBytes(32).toString("base64");
    await stream.send({ type: "hello", versions: [1], modes: ["secret"], nonce, facts: {} });
    await stream.next();
    await stream.send({ type: "proof", proof: randomBytes(32).toString("base64") });
    if (await stream.next()) count.refused++;
  }
}
