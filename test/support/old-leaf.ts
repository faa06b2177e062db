// SPDX-License-Identifier: Apache-2.0
/** Tries what a certificate is still good for: opening a route to a server of the bus, and being believed by a client. */
import { readFileSync } from "node:fs";
import { connect, createServer, type TLSSocket } from "node:tls";
import type { NatsServerTls } from "@debvisor/shared/nats-server/config";

/** A refusal of a client's certificate comes after the handshake (TLS 1.3); a server that accepts it says nothing by then. */
const REFUSAL_MS = 500;

const pem = ({ certificate, key }: NatsServerTls) => ({ cert: readFileSync(certificate), key: readFileSync(key) });

/** Whether a server lets that certificate open a route: TLS with certificates on both sides comes first. */
export async function opensRoute(place: string, tls: NatsServerTls): Promise<boolean> {
  const [host = "", port] = place.split(":");
  const socket = connect({ host, port: Number(port), ...pem(tls), rejectUnauthorized: false, minVersion: "TLSv1.3" });
  return await staysOpen(socket).finally(() => socket.destroy());
}

/** Whether a client that believes the authorities of a file believes a server that shows that certificate. */
export async function believes(ca: string, tls: NatsServerTls): Promise<boolean> {
  const server = createServer({ ...pem(tls), minVersion: "TLSv1.3" }, (socket) => socket.on("error", () => undefined));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  try {
    const socket = connect({ host: "127.0.0.1", port, ca: readFileSync(ca), minVersion: "TLSv1.3" });
    return await new Promise<boolean>((resolve) => {
      socket.once("secureConnect", () => resolve(true));
      socket.once("error", () => resolve(false));
    }).finally(() => socket.destroy());
  } finally {
    server.close();
  }
}

function staysOpen(socket: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once("secureConnect", () => setTimeout(() => resolve(!socket.destroyed), REFUSAL_MS));
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
    socket.resume();
  });
}
