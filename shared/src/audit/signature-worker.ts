// SPDX-License-Identifier: Apache-2.0
/** Thread of `signature-pool.ts`: takes batches of records, answers which of them are not genuine. */
import type { KeyObject } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { publicKeyOf } from "../bus/keys.ts";
import { isGenuine } from "./genuine.ts";

/** Records with the public nkeys of their emitters, in the same order. */
export interface SignatureBatch {
  readonly lines: readonly string[];
  readonly publicKeys: readonly string[];
}

const keys = new Map<string, KeyObject>();

parentPort?.on("message", ({ lines, publicKeys }: SignatureBatch) => {
  parentPort?.postMessage(lines.flatMap((line, i) => (isGenuine(line, keyOf(publicKeys[i] ?? "")) ? [] : [i])));
});

function keyOf(publicKey: string): KeyObject {
  const known = keys.get(publicKey);
  if (known) return known;
  const key = publicKeyOf(publicKey);
  keys.set(publicKey, key);
  return key;
}
