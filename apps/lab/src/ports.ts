// SPDX-License-Identifier: Apache-2.0
/** Finds free TCP ports on loopback. */
import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";

const HOST = "127.0.0.1";

/** True when the port can be listened on now. */
export async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  await close(server);
  return server !== undefined;
}

/** Below what Linux gives to outgoing connections (32768 on), so that a port that is kept for the next run is free then as well. */
const FIRST_PORT = 20_000;
const PORTS = 12_000;

/**
 * As many free ports as asked for, neighbours if they can be: two clusters that start at once seldom meet then. All are held while
 * searching, so none is given twice.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  const start = randomInt(PORTS);
  for (let tries = 0; servers.length < count && tries < PORTS; tries++) {
    const server = await listen(FIRST_PORT + ((start + tries) % PORTS));
    if (server) servers.push(server);
  }
  const ports = servers.flatMap((server) => {
    const address = server?.address();
    return address && typeof address === "object" ? [address.port] : [];
  });
  await Promise.all(servers.map(close));
  if (ports.length < count) throw new Error("no free ports on loopback");
  return ports;
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, HOST, () => resolve(server));
  });
}

function close(server: Server | undefined): Promise<void> {
  return new Promise((resolve) => (server ? server.close(() => resolve()) : resolve()));
}
