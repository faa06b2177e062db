// SPDX-License-Identifier: Apache-2.0
/**
 * A file system on an image, whose power can be cut: its image is copied as it is, without anything being synced, and the copy is
 * mounted in its place. Needs root and loop devices.
 */
import { execFile } from "node:child_process";
import { accessSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const SIZE = "96M";

/** Why disk images cannot be used here; undefined when they can. */
export function noDiskImages(): string | undefined {
  if (process.getuid?.() !== 0) return "disk images need root";
  if (!existsSync("/dev/loop-control")) return "there are no loop devices";
  try {
    accessSync("/usr/sbin/mkfs.ext4");
  } catch {
    return "mkfs.ext4 is missing (Debian package e2fsprogs)";
  }
  return undefined;
}

/** The disks of one test. */
export class DiskImages {
  readonly #dir = mkdtempSync(path.join(tmpdir(), "debvisor-disks-"));
  readonly #mounted = new Set<string>();
  readonly #places = new Map<string, { image: string; number: number }>();

  /** Makes a new file system; `place`, which must not exist yet, leads to a folder on it. */
  async add(place: string): Promise<void> {
    const disk = { image: path.join(this.#dir, `${this.#places.size}.0`), number: this.#places.size };
    await run("truncate", ["-s", SIZE, disk.image]);
    await run("/usr/sbin/mkfs.ext4", ["-q", "-F", disk.image]);
    mkdirSync(path.dirname(place), { recursive: true });
    await this.#mount(disk.image, place);
    mkdirSync(path.join(this.#mountOf(disk.image), "store"));
    this.#places.set(place, disk);
  }

  /** Copies the image of a place as it is now. Whoever writes there has to be frozen. */
  freeze(place: string): void {
    const { image } = this.#disk(place);
    copyFileSync(image, `${image}0`);
  }

  /** Puts the copy in the place of what is there. Nobody may use it. */
  async replace(place: string): Promise<void> {
    const disk = this.#disk(place);
    await this.#unmount(disk.image);
    rmSync(place);
    this.#places.set(place, { ...disk, image: `${disk.image}0` });
    await this.#mount(`${disk.image}0`, place);
  }

  /** Unmounts and removes everything. */
  async remove(): Promise<void> {
    for (const image of [...this.#mounted]) await this.#unmount(image);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #mount(image: string, place: string): Promise<void> {
    const mount = this.#mountOf(image);
    mkdirSync(mount);
    await run("mount", ["-o", "loop", image, mount]);
    this.#mounted.add(image);
    symlinkSync(path.join(mount, "store"), place);
  }

  async #unmount(image: string): Promise<void> {
    await run("umount", [this.#mountOf(image)]);
    this.#mounted.delete(image);
  }

  #mountOf(image: string): string {
    return `${image}-mount`;
  }

  #disk(place: string): { image: string; number: number } {
    const disk = this.#places.get(place);
    if (!disk) throw new Error(`${place} is on no image`);
    return disk;
  }
}
