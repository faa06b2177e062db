// SPDX-License-Identifier: Apache-2.0
/** Reads os-release(5): which distribution the host runs. */

/** What the host calls its system. `version` is empty for rolling releases, which state none. */
export interface OsRelease {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly codename: string | null;
}

/** Parses the text of `/etc/os-release`. Missing keys get the defaults of os-release(5); never throws. */
export function parseOsRelease(text: string): OsRelease {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\s*([A-Z][A-Z0-9_]*)=(.*)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) fields.set(match[1], unquote(match[2].trim()));
  }
  return {
    id: fields.get("ID") ?? "linux",
    name: fields.get("PRETTY_NAME") ?? fields.get("NAME") ?? "Linux",
    version: fields.get("VERSION_ID") ?? "",
    codename: fields.get("VERSION_CODENAME") ?? null,
  };
}

/** Undoes the shell quoting that os-release(5) allows: quotes of either kind, and backslashes outside single quotes. */
function unquote(value: string): string {
  const quoted = /^(["'])(.*)\1$/.exec(value);
  const inner = quoted?.[2] ?? value;
  return quoted?.[1] === "'" ? inner : inner.replace(/\\(.)/g, "$1");
}
