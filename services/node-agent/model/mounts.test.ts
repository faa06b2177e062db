// SPDX-License-Identifier: Apache-2.0
/** Mount tables: recorded, of a container, and with awkward names. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type FileSystem,
  fullestPercent,
  isNetworkMount,
  localMounts,
  type Mount,
  mountOf,
  parseMounts,
  turnedReadOnly,
  usedPercent,
} from "./mounts.ts";

const names = (mounts: readonly Mount[]) => mounts.map(({ mount }) => mount);
const room = (mount: string, used: number, free: number, options = "rw"): FileSystem => ({
  device: mount,
  mount,
  type: "ext4",
  options: new Set(options.split(",")),
  sizeBytes: used + free,
  freeBytes: free,
  usedBytes: used,
  inodes: 0,
  inodesFree: 0,
});

test("finds the one local file system of the recorded machine", () => {
  const text = readFileSync(new URL("../drivers/samples/linux-6.18.44-proc-mounts.txt", import.meta.url), "utf8");

  expect(localMounts(parseMounts(text))).toMatchObject([{ device: "/dev/vda", mount: "/", type: "ext4" }]);
});

test("counts each device once, and of overlays the root only", () => {
  const text = [
    "overlay / overlay rw 0 0",
    "overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0",
    "/dev/sda2 /etc/hosts ext4 rw 0 0",
    "/dev/sda2 /etc ext4 rw 0 0",
    "/dev/sda2 /etc/hostname ext4 rw 0 0",
    "/dev/loop0 /snap/core squashfs ro 0 0",
    "tmpfs /run tmpfs rw 0 0",
  ].join("\n");

  expect(names(localMounts(parseMounts(text)))).toEqual(["/", "/etc"]);
});

test("decodes octal escapes, and leaves comments and short lines out", () => {
  const text = "# comment line with words\n/dev/sdb1 /mnt/my\\040disk\\134x ext4 rw,relatime 0 0\nshort line\n";

  expect(parseMounts(text)).toEqual([
    { device: "/dev/sdb1", mount: "/mnt/my disk\\x", type: "ext4", options: new Set(["rw", "relatime"]) },
  ]);
});

test("knows which file systems need a server", () => {
  const [nfs, fuse, ext4] = parseMounts("a /a nfs4 rw 0 0\nb /b fuse.sshfs rw 0 0\nc /c ext4 rw 0 0");

  expect([nfs, fuse, ext4].map((mount) => mount !== undefined && isNetworkMount(mount))).toEqual([true, true, false]);
});

test("finds the mount below a path; of stacked ones the last", () => {
  const mounts = parseMounts("a / ext4 rw 0 0\nb /var ext4 rw 0 0\nc /var ext4 rw 0 0\nd /var/lib ext4 rw 0 0");

  expect(mountOf(mounts, "/var/log")?.device).toBe("c");
  expect(mountOf(mounts, "/var/lib")?.device).toBe("d");
  expect(mountOf(mounts, "/variable")?.device).toBe("a");
  expect(mountOf([], "/")).toBeUndefined();
});

test("computes used room as df does, and the fullest writable file system", () => {
  expect(usedPercent({ usedBytes: 30, freeBytes: 60 })).toBe(33.3);
  expect(usedPercent({ usedBytes: 0, freeBytes: 0 })).toBe(0);
  expect(fullestPercent([room("/", 10, 90), room("/data", 60, 40), room("/image", 100, 0, "ro")])).toBe(60);
  expect(fullestPercent([])).toBe(0);
});

test("reports mounts that are read-only against fstab", () => {
  const fstab = parseMounts(
    "a / ext4 defaults 0 1\nb /data ext4 rw 0 2\nc /cd iso9660 ro 0 0\nd none swap sw 0 0\ne /away ext4 rw 0 0",
  );
  const mounts = parseMounts("a / ext4 rw 0 0\nb /data ext4 ro,errors=remount-ro 0 0\nc /cd iso9660 ro 0 0");

  expect(names(turnedReadOnly(fstab, mounts))).toEqual(["/data"]);
});

test("keeps names through escaping, and accepts any text", () => {
  const encode = (name: string) =>
    name.replace(/[\s\\]/g, (letter) => `\\${letter.charCodeAt(0).toString(8).padStart(3, "0")}`);
  const name = fc.stringMatching(/^\/[\w \t\\.-]{0,20}$/);
  fc.assert(
    fc.property(name, fc.string({ unit: "binary" }), (mount, noise) => {
      expect(parseMounts(`dev ${encode(mount)} ext4 rw 0 0`)[0]?.mount).toBe(mount);
      parseMounts(noise);
    }),
  );
});
