// SPDX-License-Identifier: Apache-2.0
/** Devices as the kernel shows them under /sys (checked with Linux 6.1 and 6.18). */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** A whole disk. Unknown properties are null. */
export interface Disk {
  readonly name: string;
  readonly sizeBytes: number;
  readonly model: string | null;
  readonly serial: string | null;
  readonly rotational: boolean | null;
  /** `disk`, `rom`, `raid1`, `lvm` … as lsblk names it. */
  readonly type: string;
}

/** What /sys knows of a network interface. */
export interface Link {
  readonly mac: string | null;
  readonly speedMbps: number | null;
  readonly mtu: number;
  readonly up: boolean;
}

/** Readings of /sys. */
export interface SysFs {
  /** Disks with a size, without loop, RAM and floppy devices. */
  disks(): Promise<Disk[]>;
  /** Names of whole disks, whether they have a size or not. */
  diskNames(): Promise<string[]>;
  /** Links by interface name. */
  links(): Promise<ReadonlyMap<string, Link>>;
  /** DMI texts; undefined where the firmware gives none. */
  dmi(): Promise<{ vendor: string | undefined; product: string | undefined }>;
}

const PSEUDO_DISK = /^(loop|ram|zram|fd|nbd|sr)\d/;
const INTERFACE_UP = 0x1;

/** Reads devices below a folder, normally `/sys`. */
export function createSysFs(root = "/sys"): SysFs {
  const read = async (...path: string[]): Promise<string | undefined> => {
    try {
      const text = (await readFile(join(root, ...path), "utf8")).trim();
      return text === "" ? undefined : text;
    } catch {
      // Attributes that a device does not have are missing, or refuse to be read (speed of a link that is down: EINVAL).
      return undefined;
    }
  };
  const names = (...path: string[]) => readdir(join(root, ...path)).catch(() => []);
  const diskOf = async (name: string): Promise<Disk> => {
    const [size, model, serial, rotational] = await Promise.all([
      read("block", name, "size"),
      read("block", name, "device", "model"),
      read("block", name, "device", "serial").then((text) => text ?? read("block", name, "serial")),
      read("block", name, "queue", "rotational"),
    ]);
    return {
      name,
      sizeBytes: Number(size ?? 0) * 512,
      model: model ?? null,
      serial: serial ?? null,
      rotational: rotational === undefined ? null : rotational === "1",
      type: "disk",
    };
  };
  const linkOf = async (name: string): Promise<Link> => {
    const [mac, speed, mtu, state, flags] = await Promise.all(
      ["address", "speed", "mtu", "operstate", "flags"].map((attribute) => read("class", "net", name, attribute)),
    );
    const speedMbps = Number(speed);
    return {
      mac: mac === undefined || /^(00:)*00$/.test(mac) ? null : mac,
      speedMbps: Number.isInteger(speedMbps) && speedMbps > 0 ? speedMbps : null,
      mtu: Number(mtu ?? 0),
      // Loopback and tunnels have no carrier and say `unknown`; for them the administrative flag decides.
      up: state === "up" || (state === "unknown" && (Number(flags) & INTERFACE_UP) !== 0),
    };
  };
  const diskNames = async () => (await names("block")).filter((name) => !PSEUDO_DISK.test(name));
  return {
    diskNames,
    disks: async () => (await Promise.all((await diskNames()).map(diskOf))).filter(({ sizeBytes }) => sizeBytes > 0),
    links: async () => {
      const links = (await names("class", "net")).map(async (name) => [name, await linkOf(name)] as const);
      return new Map(await Promise.all(links));
    },
    dmi: async () => ({
      vendor: await read("class", "dmi", "id", "sys_vendor"),
      product: await read("class", "dmi", "id", "product_name"),
    }),
  };
}
