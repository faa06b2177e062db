// SPDX-License-Identifier: Apache-2.0
/** Versions in recorded outputs and in outputs of tools that this machine lacks. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compareVersions, parseToolVersion, TOOLS, UNKNOWN_VERSION } from "./tools.ts";

const toolNamed = (name: string) => TOOLS.find((tool) => tool.name === name) ?? {};
const sample = (file: string) => readFileSync(new URL(`../drivers/samples/${file}`, import.meta.url), "utf8");

test.each([
  ["nats-server", "nats-server-2.15.1-version.txt", "2.15.1"],
  ["kubectl", "kubectl-1.32.4-version-client.json", "1.32.4-dispatcher"],
  ["jq", "jq-1.6-version.txt", "1.6"],
  ["curl", "curl-7.88.1-version.txt", "7.88.1"],
  ["systemctl", "systemctl-252-version.txt", "252"],
  ["avahi-daemon", "avahi-daemon-0.8-version.txt", "0.8"],
  ["git", "git-2.39.5-version.txt", "2.39.5"],
])("finds the version of %s in the recorded %s", (name, file, version) => {
  expect(parseToolVersion(toolNamed(name), sample(file))).toBe(version);
});

test.each([
  ["ceph", "ceph version 16.2.15 (618f440892089921c3e944a991122ddc44e60516) pacific (stable)", "16.2.15"],
  ["zfs", "zfs-2.1.11-1+deb12u1\nzfs-kmod-2.1.11-1+deb12u1", "2.1.11-1+deb12u1"],
  ["zfs", "unrecognized command 'version'\nusage: zfs command args ...", UNKNOWN_VERSION],
  ["virsh", "9.0.0", "9.0.0"],
  ["qemu-img", "qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22"],
  ["rauc", "rauc 1.8", "1.8"],
  ["named", "BIND 9.18.49-1~deb12u1-Debian (Extended Support Version) <id:>", "9.18.49-1~deb12u1-Debian"],
])("finds the version of %s in %j", (name, output, version) => {
  expect(parseToolVersion(toolNamed(name), output)).toBe(version);
});

test.each([
  ["2.15.0", "2.15.0", 0],
  ["2.15", "2.15.0", 0],
  ["v2.9.1", "2.15.0", -1],
  ["2.15.1-preview.2", "2.15.0", 1],
  ["252", "1.8", 1],
  [UNKNOWN_VERSION, "1.0", -1],
])("compares %s with %s", (left, right, sign) => {
  expect(Math.sign(compareVersions(left, right))).toBe(sign);
});

test("orders versions as their numbers, and accepts any text", () => {
  const release = fc.array(fc.nat({ max: 999 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(release, release, fc.string(), (a, b, noise) => {
      const [left, right] = [a.join("."), b.join(".")];
      expect(Math.sign(compareVersions(left, right))).toBe(-Math.sign(compareVersions(right, left)) + 0);
      expect(compareVersions(left, left)).toBe(0);
      expect(parseToolVersion({}, noise)).not.toBe("");
    }),
  );
});
