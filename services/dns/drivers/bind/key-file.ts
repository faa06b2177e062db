// SPDX-License-Identifier: Apache-2.0
/** What a program of BIND reads from a private file for as long as it needs it: a key (`-k`), or the configuration of delv. */
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A TSIG key with its secret (base64). */
export interface TsigSecret {
  readonly name: string;
  readonly algorithm: string;
  readonly secret: string;
}

/** Arguments that name a key, in a file of mode 0600 until `use` has ended; none without a key. */
export async function withKeyFile<T>(
  folder: string,
  key: TsigSecret | null,
  use: (args: readonly string[]) => Promise<T>,
): Promise<T> {
  if (!key) return await use([]);
  const text = `key "${key.name}" { algorithm ${key.algorithm}; secret "${key.secret}"; };\n`;
  return await withFile(folder, "key", text, (file) => use(["-k", file]));
}

/** A private file until `use` has ended. */
export async function withFile<T>(
  folder: string,
  suffix: string,
  text: string,
  use: (file: string) => Promise<T>,
): Promise<T> {
  const file = join(folder, `${randomBytes(8).toString("hex")}.${suffix}`);
  writeFileSync(file, text, { mode: 0o600, flag: "wx" });
  try {
    return await use(file);
  } finally {
    rmSync(file, { force: true });
  }
}
