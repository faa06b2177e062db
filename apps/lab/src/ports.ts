// SPDX-License-Identifier: Apache-2.0
/** Finds free TCP ports on loopback. */
import { createServer, type Server } from "node:net";

const HOST = "127.0.0.1";

/** True when the port can be listened on now. */
export async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  await close(server);
  return server !== undefined;
}

/** As many free ports as asked for; all are held while searching, so none is given twice. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listen(0)));
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
