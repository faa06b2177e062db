// SPDX-License-Identifier: Apache-2.0
/**
 * Files that systemd hands to a service: with `LoadCredential=` in its unit it gets a copy of what it needs in a folder of its own
 * and does not see the original (systemd.exec(5), CREDENTIALS). Without systemd the original is read.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readEnv } from "./config.ts";

/**
 * Text of the credential `name`, or of the file `otherwise` where systemd handed over nothing of that name. Undefined when the
 * file is missing or blank: a unit that can do without has `SetCredential=name:` with a blank text. @throws Error of `node:fs`
 * when there is a file that cannot be read
 */
export function readGiven(name: string, otherwise: string, env = readEnv()): string | undefined {
  const folder = env["CREDENTIALS_DIRECTORY"];
  const text = (folder ? textOf(join(folder, name)) : undefined) ?? textOf(otherwise);
  return text?.trim() === "" ? undefined : text;
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
