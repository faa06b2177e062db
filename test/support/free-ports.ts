// SPDX-License-Identifier: Apache-2.0
/**
 * Ports of loopback for tests. Several test processes run at once, and a server that a test has stopped must find its port free
 * when it starts again: whoever got a port keeps it until its process ends. Below the ports that a local cluster picks (20,000 on,
 * apps/lab) and those that the kernel gives to outgoing connections (32,768 on).
 */
import { createServer, type ListenOptions, type Server } from "node:net";

const FIRST_PORT = 10_000;
const PORTS = 10_000;
const TRIES = 1_000;

/** As many free ports as asked for, in no order. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count && tries < TRIES; tries++) ports.push(...(await take(anyPort(), 1)));
  if (ports.length < count) throw new Error("no free ports");
  return ports;
}

/** The first of some neighbouring free ports. */
export async function freeBasePort(count = 3): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const [first] = await take(anyPort(), count);
    if (first !== undefined) return first;
  }
  throw new Error("no neighbouring free ports");
}

function anyPort(): number {
  return FIRST_PORT + Math.floor(Math.random() * PORTS);
}

/** Neighbouring ports from `first` on, or none of them. */
async function take(first: number, count: number): Promise<number[]> {
  const ports = Array.from({ length: count }, (_, i) => first + i);
  const marks: Server[] = [];
  for (const port of ports) {
    // An abstract socket (unix(7)) stands for it: it leaves no file, and is gone with its process.
    const mark = await listen({ path: `\0debvisor-test-port-${port}` });
    if (mark) marks.push(mark.unref());
    const probe = mark && (await listen({ port, host: "127.0.0.1" }));
    if (!probe) {
      for (const one of marks) one.close();
      return [];
    }
    await new Promise((resolve) => probe.close(resolve));
  }
  return ports;
}

function listen(where: ListenOptions): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(where, () => resolve(server));
  });
}
