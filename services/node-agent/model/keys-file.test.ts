// SPDX-License-Identifier: Apache-2.0
/** The file of keys: what is written can be read again, and the contract lets nothing in that would end a statement. */
import { KeysFile } from "@debvisor/proto-events/nameserver";
import { expect, it } from "vitest";
import { keysIn, renderKeysFile } from "./keys-file.ts";

const SECRET = "c2FtcGxlIHNlY3JldCBvZiAzMiBieXRlcyBsZW5ndGg=";
const FILE: KeysFile = {
  keys: [
    { name: "dv-node-a", algorithm: "hmac-sha256", secret: SECRET },
    { name: "dv-transfer-a", algorithm: "hmac-sha512", secret: SECRET },
  ],
  acls: [
    { name: "debvisor-node", keys: ["dv-node-a"] },
    { name: "debvisor-vm", keys: [] },
  ],
  lists: [
    { name: "debvisor-primaries", servers: [{ address: "2001:db8::1", port: 53, key: "dv-transfer-a" }] },
    { name: "debvisor-secondaries", servers: [{ address: "192.0.2.54", port: 5302, key: null }] },
  ],
};

it("writes keys, lists of keys and lists of servers", () => {
  const text = renderKeysFile(FILE);

  expect(keysIn(text)).toEqual(FILE.keys.map(({ name, secret }) => ({ name, secret })));
  expect(text.split("\n").slice(-5)).toEqual([
    'acl debvisor-node { key "dv-node-a"; };',
    "acl debvisor-vm { none; };",
    'primaries debvisor-primaries { 2001:db8::1 port 53 key "dv-transfer-a"; };',
    "primaries debvisor-secondaries { 192.0.2.54 port 5302; };",
    "",
  ]);
});

it.each([
  ["a name", { keys: [{ ...FILE.keys[0], name: 'a"; }; include "/etc/shadow' }], acls: [], lists: [] }],
  ["a secret", { keys: [{ ...FILE.keys[0], secret: 'x"; }; options { };' }], acls: [], lists: [] }],
  ["a list", { keys: [], acls: [{ name: "any", keys: [] }], lists: [] }],
  [
    "an address",
    { keys: [], acls: [], lists: [{ ...FILE.lists[0], servers: [{ address: "::1; };", port: 1, key: null }] }] },
  ],
])("lets no statement of its own in by %s", (_what, file) => {
  expect(KeysFile.safeParse(file).success).toBe(false);
});
