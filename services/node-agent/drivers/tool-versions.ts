// SPDX-License-Identifier: Apache-2.0
/**
 * Asks installed tools for their versions. The answers are remembered while the program file stays the same, because ceph
 * alone takes a third of a second; a program that was installed or upgraded is seen at once, since its file differs.
 * Checked with the outputs under samples/.
 */
import { stat } from "node:fs/promises";
import { exec, which } from "@debvisor/shared/exec";
import { parseToolVersion, TOOLS, type Tool } from "../model/tools.ts";

const TIMEOUT_MS = 3_000;

/** Versions by tool name. */
export interface ToolVersions {
  /** Version of each tool; `unknown` when it does not tell, null when it is not installed. Never throws. */
  read(signal?: AbortSignal): Promise<Record<string, string | null>>;
}

/** What the driver needs. */
export interface ToolVersionsOptions {
  readonly monotonic: () => number;
  /** How long a version is remembered, in milliseconds. */
  readonly cacheMs: number;
  /** Absolute path of a tool that is not looked up by its name, such as the nats-server that this node runs. */
  readonly locate?: (tool: string) => Promise<string | undefined>;
}

interface Remembered {
  readonly file: string;
  readonly atMs: number;
  readonly version: string;
}

/** Makes the driver; nothing is run before the first `read`. Callers at the same time share one run. */
export function createToolVersions(options: ToolVersionsOptions): ToolVersions {
  const remembered = new Map<string, Remembered>();
  const running = new Map<string, Promise<string>>();

  const ask = async (tool: Tool, path: string, file: string): Promise<string> => {
    // Without the caller's signal: others may wait for the same answer, and the time limit is short.
    const result = await exec(path, tool.args, { timeoutMs: TIMEOUT_MS });
    const version = parseToolVersion(tool, `${result.stdout}\n${result.stderr}`);
    // A run that was cut short says nothing about the tool, so it is asked again next time.
    if (!result.timedOut) remembered.set(tool.name, { file, atMs: options.monotonic(), version });
    return version;
  };
  const versionOf = async (tool: Tool): Promise<string | null> => {
    const path = (await options.locate?.(tool.name)) ?? (await which(tool.name));
    const file = path === undefined ? undefined : await identityOf(path);
    if (path === undefined || file === undefined) return null;
    const known = remembered.get(tool.name);
    if (known?.file === file && options.monotonic() - known.atMs < options.cacheMs) return known.version;
    const already = running.get(file);
    if (already !== undefined) return await already;
    const asked = ask(tool, path, file).finally(() => running.delete(file));
    running.set(file, asked);
    return await asked;
  };
  return {
    read: async (signal) => {
      const entries = TOOLS.map(async (tool) => [tool.name, signal?.aborted ? null : await versionOf(tool)] as const);
      return Object.fromEntries(await Promise.all(entries));
    },
  };
}

/** Changes when the program is replaced. Undefined when the file is gone. */
async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${path} ${ino} ${size} ${mtimeMs}`;
  } catch {
    return undefined;
  }
}
