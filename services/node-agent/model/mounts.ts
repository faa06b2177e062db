// SPDX-License-Identifier: Apache-2.0
/** Reads mount tables (/proc/self/mounts, fstab(5)) and decides which file systems count as the host's own storage. */

/** A line of a mount table. */
export interface Mount {
  readonly device: string;
  readonly mount: string;
  readonly type: string;
  readonly options: ReadonlySet<string>;
}

/** Room on a file system, as statfs(2) says. `freeBytes` is what unprivileged users can still write. */
export interface Room {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

/** A mounted file system together with its room. */
export interface FileSystem extends Mount, Room {}

const LOCAL_TYPES = new Set(
  "ext2 ext3 ext4 xfs btrfs zfs f2fs bcachefs jfs reiserfs nilfs2 vfat exfat ntfs ntfs3 overlay fuseblk".split(" "),
);
const NETWORK_TYPES = /^(nfs|nfs4|cifs|smb3|smbfs|ceph|9p|afs|glusterfs|lustre|gfs2|ocfs2|beegfs|fuse(\..*)?)$/;

/** Parses a mount table in the format of fstab(5). Lines without the four fields are left out; never throws. */
export function parseMounts(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [device, mount, type, options] = line.trim().split(/\s+/).map(decode);
    if (device === undefined || mount === undefined || type === undefined || options === undefined) continue;
    if (device.startsWith("#")) continue;
    mounts.push({ device, mount, type, options: new Set(options.split(",")) });
  }
  return mounts;
}

/**
 * The mounts that hold data on this host's own disks, each device once (the shortest path wins, so bind mounts into
 * containers do not repeat it). Images such as squashfs are left out: they are always full.
 */
export function localMounts(mounts: readonly Mount[]): Mount[] {
  const byDevice = new Map<string, Mount>();
  for (const mount of mounts) {
    if (!LOCAL_TYPES.has(mount.type)) continue;
    // Overlays of different containers share the device name `overlay`, but only the one at `/` is the host's.
    const key = mount.type === "overlay" ? `overlay ${mount.mount}` : mount.device;
    if (mount.type === "overlay" && mount.mount !== "/") continue;
    const known = byDevice.get(key);
    if (known === undefined || mount.mount.length < known.mount.length) byDevice.set(key, mount);
  }
  return [...byDevice.values()];
}

/** Whether asking for its room may block because a server must answer. */
export function isNetworkMount(mount: Mount): boolean {
  return NETWORK_TYPES.test(mount.type);
}

/** The mount that an absolute path lies on; the last one wins where several are stacked on one folder. */
export function mountOf<M extends Mount>(mounts: readonly M[], path: string): M | undefined {
  let best: M | undefined;
  for (const mount of mounts) {
    const inside = mount.mount === "/" || path === mount.mount || path.startsWith(`${mount.mount}/`);
    if (inside && mount.mount.length >= (best?.mount.length ?? 0)) best = mount;
  }
  return best;
}

/** Used share in percent as df(1) computes it: blocks reserved for root count neither as used nor as free. */
export function usedPercent(room: Pick<Room, "usedBytes" | "freeBytes">): number {
  const usable = room.usedBytes + room.freeBytes;
  return usable > 0 ? Math.round((room.usedBytes / usable) * 1000) / 10 : 0;
}

/** Used share of the fullest of some file systems in percent; 0 when there is none. Read-only ones do not fill up. */
export function fullestPercent(fileSystems: readonly FileSystem[]): number {
  return Math.max(0, ...fileSystems.filter(({ options }) => !options.has("ro")).map(usedPercent));
}

/** Mounts that fstab wants writable and that are read-only now: the kernel does that after errors of a disk. */
export function turnedReadOnly(fstab: readonly Mount[], mounts: readonly Mount[]): Mount[] {
  return fstab.flatMap((wanted) => {
    if (wanted.options.has("ro") || wanted.type === "swap") return [];
    const actual = mounts.findLast(({ mount }) => mount === wanted.mount);
    return actual?.options.has("ro") ? [actual] : [];
  });
}

/** The kernel writes space, tab, newline and backslash in names as octal escapes. */
function decode(field: string): string {
  return field.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
