// SPDX-License-Identifier: Apache-2.0
/** A member that writes to the bus while a test or the bench does something to the cluster (bench/load/lan-writer.ts). */
import path from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../../tools/paths.ts";
import type { Lan } from "./lan.ts";
import type { Machine } from "./node-machine.ts";

const WRITER = path.join(ROOT, "bench/load/lan-writer.ts");

/** What was written since the writer was last asked. */
export interface Written {
  /** Events that were acknowledged. */
  readonly written: number;
  /** Longest time between two acknowledgements, in milliseconds. */
  readonly longestMs: number;
}

/** Starts the writer on a machine's host. Resolves, with the function that asks it, once it has begun. It ends with the LAN. */
export async function startLanWriter(lan: Lan, { host, nodeDir }: Machine): Promise<() => Promise<Written>> {
  const child = lan.spawn(host, [process.execPath, WRITER, nodeDir]);
  let said = "";
  child.stderr?.on("data", (text) => (said += String(text)));
  if (!child.stdin || !child.stdout) throw new Error("the writer has no pipes");
  const { stdin } = child;
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async () => {
    stdin.write("\n");
    const { value } = await lines.next();
    if (value === undefined) throw new Error(`the writer ended: ${said}`);
    return JSON.parse(value) as Written;
  };
  await ask();
  return ask;
}
