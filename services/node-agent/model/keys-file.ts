// SPDX-License-Identifier: Apache-2.0
/** The file of TSIG keys that named.conf includes: how it is written, and which keys it holds. Statements of BIND 9.18. */
import type { KeysFile } from "@debvisor/proto-events/nameserver";

const HEAD = "// Written by the DebVisor node agent, anew with each rotation of keys. Changes by hand are lost.\n";

/** The text of the file. Every value comes checked by the contract; no other statement can be made of them. */
export function renderKeysFile({ keys, acls, lists }: KeysFile): string {
  const key = (name: string) => `key "${name}";`;
  return [
    HEAD,
    ...keys.map(
      ({ name, algorithm, secret }) => `key "${name}" {\n\talgorithm ${algorithm};\n\tsecret "${secret}";\n};\n`,
    ),
    ...acls.map(
      ({ name, keys: names }) => `acl ${name} { ${names.length > 0 ? names.map(key).join(" ") : "none;"} };\n`,
    ),
    ...lists.map(({ name, servers }) => {
      const items = servers.map(
        (one) => `${one.address} port ${one.port}${one.key === null ? "" : ` key "${one.key}"`};`,
      );
      return `primaries ${name} { ${items.join(" ")} };\n`;
    }),
  ].join("");
}

/** The keys that a file holds, with their secrets (base64), in order. */
export function keysIn(text: string): { readonly name: string; readonly secret: string }[] {
  const statement = /^key "([^"]+)" \{\s*algorithm [\w-]+;\s*secret "([^"]+)";\s*\};$/gm;
  return [...text.matchAll(statement)].map(([, name = "", secret = ""]) => ({ name, secret }));
}
