// SPDX-License-Identifier: Apache-2.0
/**
 * `node tools/run.cjs tools/get-nats-server.ts [--dir DIR]`: prints the path of a nats-server 2.15 or later and fetches
 * one into the project's cache when the machine has none. What it did goes to stderr.
 */
import path from "node:path";
import { parseArgs } from "node:util";
import { DvError } from "@debvisor/shared/errors";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { NATS_CACHE_DIR } from "./paths.ts";

try {
  const { values } = parseArgs({ options: { dir: { type: "string" } } });
  const cacheDir = path.resolve(values.dir ?? NATS_CACHE_DIR);
  const server = await locateNatsServer({ cacheDir, fetch: true, log: (line) => console.error(`[INFO] ${line}`) });
  console.error(`[INFO] nats-server ${server.version} (${server.source})`);
  console.log(server.path);
} catch (error) {
  console.error(`[ERROR] ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = error instanceof DvError ? error.exitCode : 2;
}
