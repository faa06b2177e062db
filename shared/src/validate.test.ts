// SPDX-License-Identifier: Apache-2.0
/** What the helpers accept, and with which error they refuse. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  hostLabelOf,
  isHost,
  isHostName,
  isPoolName,
  parseCidr,
  requireBinary,
  requireEnv,
  requireFile,
  requireRoot,
} from "./validate.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-validate-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("what must be there", () => {
  it("finds a program, or names the missing one", async () => {
    expect(await requireBinary("sh")).toMatch(/^\/.*\/sh$/);
    await expect(requireBinary("no-such-program")).rejects.toMatchObject({
      code: "TOOL_MISSING",
      details: { program: "no-such-program" },
    });
  });

  it("reads a variable; an empty one is not set", () => {
    expect(requireEnv({ ZFS_POOL: "tank" }, "ZFS_POOL")).toBe("tank");
    for (const env of [{}, { ZFS_POOL: "" }]) {
      expect(() => requireEnv(env, "ZFS_POOL")).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    }
  });

  it("lets root alone pass", () => {
    expect(() => requireRoot("Formatting a disk", 0)).not.toThrow();
    expect(() => requireRoot("Formatting a disk", 1000)).toThrow(
      expect.objectContaining({
        code: "PERMISSION_DENIED",
        message: "Formatting a disk needs root; this is user 1000.",
      }),
    );
  });

  it("reads a file, or says why it cannot", async () => {
    const file = join(folder, "a.txt");
    writeFileSync(file, "text");

    expect(await requireFile(file)).toBe("text");
    await expect(requireFile(join(folder, "b.txt"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(requireFile(join(file, "c.txt"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(requireFile(folder)).rejects.toMatchObject({ code: "CONFIG_INVALID", details: { reason: "EISDIR" } });
  });
});

describe("address ranges", () => {
  it.each(["256.0.0.0/8", "10.0.0/8", "10.0.0.0/33", "10.0.0.0", "010.0.0.0/8", "10.0.0.0/08", "10.0.0.0/-1"])(
    "refuse %s",
    (text) => expect(parseCidr(text)).toBeUndefined(),
  );

  it.each(["::/129", "fe80::1%eth0/64", "2001:db8::g/32", "/64", "", "10.0.0.0/8 ", "10.0.0.0/8/8"])(
    "refuse %j",
    (text) => expect(parseCidr(text)).toBeUndefined(),
  );

  it("accept every address of both families with every length it can have", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat({ max: 200 }), (address, prefix) => {
        const family = isIP(address);
        const expected = prefix <= (family === 4 ? 32 : 128) ? { family, address, prefix } : undefined;

        expect(parseCidr(`${address}/${prefix}`)).toEqual(expected);
      }),
    );
  });

  it("never throw", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseCidr(text)));
  });
});

describe("names", () => {
  it.each([
    ["node-1", true],
    ["Node-1.example.org", true],
    ["3com", true],
    ["a".repeat(63), true],
    ["a".repeat(64), false],
    [`${"a.".repeat(127)}a`, false],
    ["-a", false],
    ["a-", false],
    ["a..b", false],
    ["a.", false],
    ["a_b", false],
    ["10.0.0.1", false],
    ["", false],
  ])("of hosts: %s is %s", (text, expected) => {
    expect(isHostName(text)).toBe(expected);
  });

  it("of hosts: what DNS libraries call a domain is one", () => {
    fc.assert(fc.property(fc.domain(), (name) => isHostName(name)));
  });

  it("take an address where something is connected to", () => {
    expect([isHost("::1"), isHost("192.0.2.1"), isHost("a.b"), isHost("a b")]).toEqual([true, true, true, false]);
  });

  it("of hosts can be made of anything", () => {
    expect(hostLabelOf("Käse.example")).toBe("k-se");
    fc.assert(fc.property(fc.string(), (text) => isHostName(`${hostLabelOf(text)}.a`)));
  });

  it.each([
    ["tank", true],
    ["rbd.pool-1_a", true],
    ["mirror-1", false],
    ["raidz", false],
    ["log", false],
    ["logs", true],
    ["c0t0d0", false],
    ["1tank", false],
    ["ta/nk", false],
    ["", false],
  ])("of pools: %s is %s", (text, expected) => {
    expect(isPoolName(text)).toBe(expected);
  });
});
