// SPDX-License-Identifier: Apache-2.0
/**
 * The node part of a tortured node as a process of its own, which kills itself (SIGKILL) at a moment that the test chooses: before
 * or after the n-th commit of its ledger or change of a folder. It counts those in the file `points`; the file `die` names the one.
 */
import { appendFileSync, existsSync, readFileSync, statSync } from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { connectBus } from "@debvisor/shared/bus/connect";
import type { Credential } from "@debvisor/shared/bus/trust";
import { createLogger } from "@debvisor/shared/log";
import { nodeIdentity, startNodePart } from "./operation-torture-node.ts";

/** What the test tells the process, as JSON in its last argument. */
export interface NodeProcessOptions {
  readonly id: string;
  readonly name: string;
  readonly dir: string;
  readonly servers: readonly string[];
  readonly credential: Credential;
  readonly commandSigners: readonly string[];
}

/** The moment at which it kills itself. */
export interface Death {
  readonly at: number;
  readonly when: "before" | "after";
}

function dieIf(dir: string, n: number, when: Death["when"]): void {
  const file = path.join(dir, "die");
  if (!existsSync(file)) return;
  const death = JSON.parse(readFileSync(file, "utf8")) as Death;
  if (death.at === n && death.when === when) process.kill(process.pid, "SIGKILL");
}

function point(dir: string): number {
  const file = path.join(dir, "points");
  appendFileSync(file, ".");
  return statSync(file).size;
}

function countCommits(dir: string): void {
  const exec = DatabaseSync.prototype.exec;
  DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
    if (sql !== "COMMIT") return exec.call(this, sql);
    const n = point(dir);
    dieIf(dir, n, "before");
    exec.call(this, sql);
    dieIf(dir, n, "after");
  };
}

function countChanges(dir: string): void {
  type Change = (...args: unknown[]) => Promise<unknown>;
  const functions = promises as unknown as Record<string, Change>;
  for (const name of ["rename", "link", "unlink", "rm"]) {
    const real = functions[name] as Change;
    functions[name] = async (...args) => {
      const n = point(dir);
      dieIf(dir, n, "before");
      const answer = await real(...args);
      dieIf(dir, n, "after");
      return answer;
    };
  }
  syncBuiltinESMExports();
}

async function main(options: NodeProcessOptions): Promise<void> {
  const { id, name, dir, servers, credential, commandSigners } = options;
  const log = createLogger({ level: "debug", destination: path.join(dir, "node-part.log") });
  const node = { id, name };
  const bus = await connectBus({ servers, credential, origin: id, node, commandSigners, version: "0.1.0", log });
  await startNodePart(nodeIdentity(id, name, dir), bus, log);
  countCommits(dir);
  countChanges(dir);
  process.send?.("ready");
  process.on("disconnect", () => process.exit(0));
}

if (process.argv[1] === import.meta.filename) await main(JSON.parse(process.argv.at(-1) ?? "{}") as NodeProcessOptions);
