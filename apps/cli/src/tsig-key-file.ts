// SPDX-License-Identifier: Apache-2.0
/**
 * TSIG keys in the files that tsig-keygen writes. The command reads the file and sends the secret in the request's body: in an
 * argument every process of the machine would see it. A file that others may read is refused, as ssh refuses such keys.
 */
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { TsigAlgorithm, TsigKeyName } from "@debvisor/proto-events/dns-data";
import { DvError } from "@debvisor/shared/errors";

/** A key as its file has it. */
export interface TsigKeyFile {
  readonly name: string;
  readonly algorithm: string;
  /** Base64. */
  readonly secret: string;
}

const MAX_BYTES = 16 * 1024;
/** The owner's bits, and reading for the group (0640: named runs with a group of its own). */
const ALLOWED_MODE = 0o740;
const KEY = /^\s*key\s+"?([^\s"{]+)"?\s*\{([^}]*)\}\s*;?\s*$/;

/** Reads a key file. @throws DNS_KEY_INVALID */
export function readTsigKeyFile(file: string, { cwd }: { readonly cwd: string }): TsigKeyFile {
  const text = readPrivately(resolve(cwd, file), file);
  const [, name = "", body = ""] = KEY.exec(text.replaceAll(/(\/\/|#).*$/gm, "")) ?? [];
  const part = (word: string) => new RegExp(`(?:^|[\\s;])${word}\\s+"?([^\\s";]+)"?\\s*;`).exec(body)?.[1];
  const [algorithm, secret] = [part("algorithm"), part("secret")];
  if (name === "" || algorithm === undefined || secret === undefined)
    throw invalid(`${file} is no key file: one statement key "NAME" { algorithm …; secret "…"; };`);
  const checked = {
    name: TsigKeyName.safeParse(name.toLowerCase().replace(/\.$/, "")),
    algorithm: TsigAlgorithm.safeParse(algorithm.toLowerCase()),
  };
  if (!checked.name.success) throw invalid(`${file}: ${name} is no name of a key that can be used here`);
  if (!checked.algorithm.success)
    throw invalid(`${file}: the algorithm ${algorithm} is none of ${TsigAlgorithm.options.join(", ")}`);
  if (Buffer.from(secret, "base64").length < 16 || Buffer.from(secret, "base64").toString("base64") !== secret)
    throw invalid(`${file}: the secret is not base64 of 16 bytes or more`);
  return { name: checked.name.data, algorithm: checked.algorithm.data, secret };
}

function readPrivately(path: string, file: string): string {
  try {
    const { mode, size } = statSync(path);
    if ((mode & 0o777 & ~ALLOWED_MODE) !== 0)
      throw invalid(`${file} has mode 0${(mode & 0o777).toString(8)}: others may read the key; chmod 0600 ${file}`);
    if (size > MAX_BYTES) throw invalid(`${file} is no key file: ${size} bytes`);
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof DvError) throw error;
    throw new DvError("DNS_KEY_INVALID", `${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`, {
      cause: error,
    });
  }
}

function invalid(message: string): DvError {
  return new DvError("DNS_KEY_INVALID", message);
}
