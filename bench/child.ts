// SPDX-License-Identifier: Apache-2.0
/**
 * Child processes that answer calls over Node's own channel. The bench puts every party (gateway, bare path, agents, load)
 * into a process of its own, so that none of them waits for another's event loop.
 */
import { type ChildProcess, fork } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A child process that answers calls. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  /** Sends a command and waits for its result. @throws Error with what the child says, or that it ended */
  call<T>(command: string, input?: unknown): Promise<T>;
  stop(): Promise<void>;
}

interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

const STOP_LIMIT_MS = 3_000;

/** Starts `bench/<script>`; its output goes to `logFile`. */
export function startChild(script: string, logFile: string, execArgv: readonly string[] = []): Child {
  const log = openSync(logFile, "a");
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), [], {
    stdio: ["ignore", log, log, "ipc"],
    execArgv: [...execArgv],
  });
  closeSync(log);
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let next = 0;
  child.on("message", (message: Reply) => {
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error === undefined) call?.resolve(message.result);
    else call?.reject(new Error(`${script}: ${message.error}`));
  });
  child.on("exit", (code, signal) => {
    const error = new Error(`${script} ended (${signal ?? code}): ${lastLines(logFile)}`);
    for (const call of waiting.values()) call.reject(error);
    waiting.clear();
  });
  const stop = () => stopProcess(child);
  return {
    pid: child.pid ?? 0,
    call: <T>(command: string, input?: unknown) => {
      const call = Promise.withResolvers<unknown>();
      if (!child.connected) call.reject(new Error(`${script} is not running: ${lastLines(logFile)}`));
      else {
        const id = next++;
        waiting.set(id, call);
        child.send({ id, command, input });
      }
      return call.promise as Promise<T>;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Answers the calls of `startChild` until the parent goes away. The child's side. */
export function answerParent(handlers: Readonly<Record<string, (input: never) => unknown>>): void {
  process.on("disconnect", () => process.exit(0));
  process.on("message", (message: { id: number; command: string; input: unknown }) => {
    void answer(handlers[message.command], message).then((reply) => process.send?.(reply));
  });
}

/** Ends a process: SIGTERM, then SIGKILL. */
export async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
  await exited;
  clearTimeout(timer);
}

/** The end of a log, for an error message. */
export function lastLines(file: string): string {
  return readFileSync(file, "utf8").trim().split("\n").slice(-5).join(" | ").slice(-1_000);
}

async function answer(
  handler: ((input: never) => unknown) | undefined,
  { id, command, input }: { id: number; command: string; input: unknown },
): Promise<Reply> {
  try {
    if (!handler) throw new Error(`no such command: ${command}`);
    return { id, result: await handler(input as never) };
  } catch (error) {
    return { id, error: error instanceof Error ? `${error.message}` : String(error) };
  }
}
