// SPDX-License-Identifier: Apache-2.0
/** A command as somebody types it, against a real HTTP server that answers what the test says. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { Call, Program } from "../../apps/cli/src/command.ts";
import { dvctlProgram } from "../../apps/cli/src/dvctl-program.ts";
import { runProgram } from "../../apps/cli/src/program.ts";
import { type CannedReply, type SeenRequest, startCannedApi } from "./canned-api.ts";

/** Folder in which the commands run. A test that uses it removes it at its end. */
export const folder = mkdtempSync(join(tmpdir(), "dv-typed-"));

/** Surroundings of a run. */
export interface RunOptions {
  readonly program?: Program;
  readonly env?: Readonly<Record<string, string>>;
  /** Typed on a terminal; standard error is one then. */
  readonly typed?: string;
}

/** Runs a command to its end. */
export async function against(
  answer: (request: SeenRequest, number: number) => CannedReply,
  argv: readonly string[],
  { program = dvctlProgram(), env = {}, typed }: RunOptions = {},
) {
  await using api = await startCannedApi(answer);
  const context = join(folder, "context.json");
  writeFileSync(context, JSON.stringify({ version: 1, cluster: "c", servers: [api.url], token: "dv_abc_secret" }));
  let out = "";
  let err = "";
  const terminal = new PassThrough();
  terminal.on("data", (text) => (err += String(text)));
  const stdin = new PassThrough();
  if (typed !== undefined) stdin.end(typed);
  const code = await runProgram(program, argv, {
    env: { HOME: folder, DV_CONTEXT: context, ...env },
    cwd: folder,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text), isTTY: typed !== undefined, columns: 200 },
    terminal: typed === undefined ? undefined : ({ stdin, stderr: terminal } as unknown as Call["terminal"]),
  });
  return { code, out, err, requests: [...api.requests] };
}

/** How far the requests that change something went: check, plan, apply. */
export const modes = (requests: readonly SeenRequest[]) =>
  requests.filter(({ method }) => method === "POST").map(({ url }) => url.searchParams.get("mode"));
