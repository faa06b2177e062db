// SPDX-License-Identifier: Apache-2.0
/**
 * The sockets of the local cluster, the launcher's and each node's: one JSON line in, one out. Only the user who owns the
 * folder can open them.
 */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { socketPathIn } from "@debvisor/shared/drivers/lab-supervisor";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { z } from "zod";

const LONGEST_REQUEST = 4_096;

/** Where the launcher's socket of a data folder is. */
export function socketPath(dataDir: string): string {
  return socketPathIn(dataDir, "lab.sock");
}

/** Answers requests that fit the schema until closed. */
export async function serveControl<T>(
  path: string,
  schema: z.ZodType<T>,
  handle: (request: T) => unknown,
): Promise<Server> {
  rmSync(path, { force: true });
  const server = createServer((socket) => serveOne(socket, (line) => handle(parse(line, schema))));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

function serveOne(socket: Socket, handle: (line: string) => unknown): void {
  let text = "";
  socket.setEncoding("utf8");
  socket.setTimeout(30_000, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: string) => {
    text += chunk;
    if (text.length > LONGEST_REQUEST) socket.destroy();
    const end = text.indexOf("\n");
    if (end < 0) return;
    const line = text.slice(0, end);
    text = "";
    void answer(line, handle).then((reply) => socket.end(`${JSON.stringify(reply)}\n`));
  });
}

async function answer(line: string, handle: (line: string) => unknown): Promise<unknown> {
  try {
    return { ok: true, data: await handle(line) };
  } catch (error) {
    return { ok: false, error: toDvError(error).toWire() };
  }
}

function parse<T>(line: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(line));
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "The control request cannot be read.", { cause: error });
  }
}
