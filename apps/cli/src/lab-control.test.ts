// SPDX-License-Identifier: Apache-2.0
/** The control socket of the local cluster, over a real unix socket. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { askLab } from "./lab-control.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dv-lab-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const never = new AbortController().signal;

async function withLauncher<T>(answer: string | undefined, use: (received: string[]) => Promise<T>): Promise<T> {
  const received: string[] = [];
  const server = createServer((socket) => {
    socket.on("data", (chunk) => {
      received.push(String(chunk));
      if (answer === undefined) socket.end();
      else socket.end(answer);
    });
  });
  const path = join(folder, "control.sock");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  writeFileSync(join(folder, "lab.json"), JSON.stringify({ version: 1, pid: process.pid, socket: path }));
  try {
    return await use(received);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

describe("the launcher", () => {
  it("is asked one line and answers one", async () => {
    await withLauncher('{"ok":true,"data":{"nodes":[]}}\n', async (received) => {
      expect(await askLab(folder, { command: "kill", node: "node-2" }, never)).toEqual({ nodes: [] });
      expect(received).toEqual(['{"command":"kill","node":"node-2"}\n']);
    });
  });

  it("passes its refusal on", async () => {
    const refusal = '{"ok":false,"error":{"code":"NODE_NOT_FOUND","kind":"not-found","message":"no node-9"}}\n';
    await withLauncher(refusal, async () => {
      await expect(askLab(folder, { command: "stop", node: "node-9" }, never)).rejects.toMatchObject({
        code: "NODE_NOT_FOUND",
        exitCode: 3,
      });
    });
  });

  it.each([
    ["answers nonsense", "hello\n", "MALFORMED_REPLY"],
    ["ends before it answers", undefined, "UNAVAILABLE"],
  ])("that %s is an error", async (_, answer, code) => {
    await withLauncher(answer, async () => {
      await expect(askLab(folder, { command: "status" }, never)).rejects.toMatchObject({ code });
    });
  });

  it("is not running without its file, and when nobody listens", async () => {
    await expect(askLab(folder, { command: "status" }, never)).rejects.toMatchObject({
      code: "LAB_NOT_RUNNING",
      exitCode: 4,
    });
    writeFileSync(join(folder, "lab.json"), JSON.stringify({ version: 1, pid: 1, socket: join(folder, "gone.sock") }));
    await expect(askLab(folder, { command: "status" }, never)).rejects.toMatchObject({ code: "LAB_NOT_RUNNING" });
  });
});
