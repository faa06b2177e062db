// SPDX-License-Identifier: Apache-2.0
/** The control socket of the local cluster: one JSON line in, one out. Only the user who owns the folder can open it. */
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { ControlRequest } from "./messages.ts";

/** Longest path of a Unix socket is 107 bytes; a folder that is too deep gets its socket in the temporary folder. */
const LONGEST_PATH = 100;
const LONGEST_REQUEST = 4_096;

/** Where the socket of a data folder is. */
export function socketPath(dataDir: string): string {
  const beside = join(dataDir, "lab.sock");
  if (beside.length <= LONGEST_PATH) return beside;
  const folder = join(tmpdir(), `debvisor-${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return join(folder, "lab.sock");
}

/** Answers requests until closed. */
export async function serveControl(
  path: string,
  handle: (request: ControlRequest) => Promise<unknown>,
): Promise<Server> {
  rmSync(path, { force: true });
  const server = createServer((socket) => serveOne(socket, handle));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

function serveOne(socket: Socket, handle: (request: ControlRequest) => Promise<unknown>): void {
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

async function answer(line: string, handle: (request: ControlRequest) => Promise<unknown>): Promise<unknown> {
  try {
    return { ok: true, data: await handle(parse(line)) };
  } catch (error) {
    return { ok: false, error: toDvError(error).toWire() };
  }
}

function parse(line: string): ControlRequest {
  try {
    return ControlRequest.parse(JSON.parse(line));
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "The control request cannot be read.", { cause: error });
  }
}
