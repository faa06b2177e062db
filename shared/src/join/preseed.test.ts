// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { hostPort, parseHostPort } from "./addresses.ts";
import { parsePreseed } from "./preseed.ts";

const secret = randomBytes(32).toString("base64");
const text = (lines: Readonly<Record<string, unknown>>) =>
  Object.entries({ cluster: "lab", secret, servers: 3, ...lines })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
    .join("\n");

test("the least that a preseed says, with what follows from it", () => {
  expect(parsePreseed(text({}))).toMatchObject({
    ...{ cluster: "lab", servers: 3, role: "server", addresses: [], interfaces: [] },
    ports: { bus: 4222, cluster: 6222, monitor: 8222, helper: [4223, 6223, 8223], join: 8422, gateway: 8420 },
  });
});

test.each([
  [
    "a secret that is too short",
    { secret: randomBytes(16).toString("base64") },
    /secret: has 128 bits; 256 are needed/,
  ],
  ["a secret that somebody typed", { secret: Buffer.alloc(32, "a").toString("base64") }, /secret: is not random/],
  ["a secret that is no base64", { secret: "correct horse battery staple" }, /secret: is not base64/],
  ["a misspelt key", { serverz: 3 }, /serverz/],
  ["two servers", { servers: 2 }, /servers/],
  ["a cluster id that is no token", { cluster: "*" }, /cluster/],
  ["an address that is none", { addresses: ["http://x"] }, /addresses.0: is no host/],
  ["one server that does not say so", { servers: 1 }, /single: true/],
  ["single among three", { single: true }, /single: is only for/],
  ["a missing secret", { secret: undefined }, /secret/],
])("%s is refused by name", (_what, lines, message) => {
  expect(() => parsePreseed(text(lines))).toThrow(message);
  expect(() => parsePreseed(text(lines))).toThrow(expect.objectContaining({ code: "PRESEED_INVALID" }));
});

test("a refusal never repeats the secret", () => {
  const weak = Buffer.alloc(32, "secret!").toString("base64");
  try {
    parsePreseed(text({ secret: weak }));
    expect.unreachable();
  } catch (error) {
    expect(String(error)).not.toContain(weak);
  }
});

test("what is no YAML is refused", () => {
  expect(() => parsePreseed("cluster: [")).toThrow(expect.objectContaining({ code: "PRESEED_INVALID" }));
});

test.each([
  ["10.0.0.1", "10.0.0.1", 8422],
  ["node-1.example:99", "node-1.example", 99],
  ["[fd00::1]:99", "fd00::1", 99],
  ["fd00::1", "fd00::1", 8422],
])("%s is a place to dial", (written, host, port) => {
  expect(parseHostPort(written, 8422)).toEqual({ host, port });
});

test.each(["", "a:b", "host:0", "host:65536", "[10.0.0.1]:1", "a b", "-:1:2"])("%s is none", (written) => {
  expect(parseHostPort(written, 8422)).toBeUndefined();
});

test("IPv6 is written in brackets", () => {
  expect([hostPort("fd00::1", 1), hostPort("10.0.0.1", 1)]).toEqual(["[fd00::1]:1", "10.0.0.1:1"]);
});
