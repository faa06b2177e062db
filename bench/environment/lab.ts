// SPDX-License-Identifier: Apache-2.0
/** The local cluster in a temporary folder, started with the command that `npm start` runs. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { socketPath } from "../../apps/lab/src/control.ts";
import { ROOT } from "../../tools/paths.ts";
import { stopProcess } from "../child.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

/** What `dvctl lab status` prints, as far as the bench needs it. */
export interface LabStatus {
  readonly nodes: readonly { readonly name: string; readonly pid: number | null; readonly natsPid: number | null }[];
}

/** A local cluster that is ready. */
export interface RunningLab extends AsyncDisposable {
  readonly pid: number;
  /** From starting the command to its line "ready". */
  readonly readyMs: number;
  /** The lines that the launcher printed on the way. */
  readonly timeline: readonly string[];
  status(): Promise<LabStatus>;
}

const START_LIMIT_MS = 60_000;

/** Starts a cluster in a new folder. @throws Error with what it printed when it does not become ready within a minute */
export async function startLab(options: { nodes: number; port: number; cacheDir: string }): Promise<RunningLab> {
  const dataDir = mkdtempSync(join(tmpdir(), "dv-bench-lab-"));
  const from = performance.now();
  const args = ["--nodes", String(options.nodes), "--port", String(options.port), "--data", dataDir];
  const child = spawn(process.execPath, [join(ROOT, "apps/lab/bin/start.cjs"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_COMPILE_CACHE: options.cacheDir },
  });
  const printed: string[] = [];
  const dispose = async () => {
    forget();
    await stopProcess(child);
    rmSync(dataDir, { recursive: true, force: true });
    rmSync(socketPath(dataDir), { force: true });
  };
  const forget = stopOnSignal(dispose);
  const ready = new Promise<number>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`the local cluster ${why}: ${printed.slice(-8).join(" | ")}`));
    const timer = setTimeout(() => fail("did not become ready"), START_LIMIT_MS);
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        printed.push(line);
        if (!/\bready: \d+ node/.test(line)) return;
        clearTimeout(timer);
        resolve(performance.now() - from);
      });
    }
    child.once("exit", (code) => {
      clearTimeout(timer);
      fail(`ended (${code})`);
    });
  });
  try {
    const readyMs = await ready;
    const timeline = printed.filter((line) => /^\s*\d+\.\d+ s\s/.test(line)).map((line) => line.trim());
    return {
      pid: child.pid ?? 0,
      readyMs,
      timeline,
      status: () => askLab(dataDir, { command: "status" }),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function askLab(dataDir: string, request: { command: string }): Promise<LabStatus> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(socketPath(dataDir), () => socket.write(`${JSON.stringify(request)}\n`));
    socket.setEncoding("utf8");
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      text += String(chunk);
    });
    socket.on("end", () => {
      const reply = JSON.parse(text) as { ok: boolean; data: LabStatus; error?: { message: string } };
      if (reply.ok) resolve(reply.data);
      else reject(new Error(reply.error?.message));
    });
  });
}
