// SPDX-License-Identifier: Apache-2.0
/** Operation `getFacts`: what the host is. Facts come from the machine, also on a node of the local cluster. */
import os from "node:os";
import process from "node:process";
import type { Facts } from "@debvisor/proto-events/node-agent";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { detectVirt } from "../drivers/detect-virt.ts";
import { listBlockDevices } from "../drivers/lsblk.ts";
import { readMachineId, readOsRelease } from "../drivers/os-identity.ts";
import type { Link } from "../drivers/sys-fs.ts";
import type { Host } from "../host.ts";
import { virtualisationOf } from "../model/virtualisation.ts";

/** What the facts need. */
export interface GetFactsDeps {
  readonly host: Host;
  readonly clock: Clock;
  /** Version of DebVisor on this node. */
  readonly version: string;
}

/** Collects the facts; every source runs at the same time and within a few seconds. */
export function getFactsHandler({ host, clock, version }: GetFactsDeps) {
  return async (_input: unknown, { signal }: Pick<RequestContext, "signal">): Promise<Facts> => {
    const [machineId, release, disks, { rooms }, links, tools, virtualisation] = await Promise.all([
      readMachineId(),
      readOsRelease(),
      listBlockDevices(signal).then(async (listed) => listed ?? (await host.sys.disks())),
      host.rooms(),
      host.sys.links(),
      host.tools.read(signal),
      readVirtualisation(host, signal),
    ]);
    const { hypervisor: _, ...cpu } = host.proc.cpuInfo();
    const memory = host.proc.memory();
    return {
      collectedAt: timestamp(clock),
      host: {
        hostname: os.hostname(),
        machineId,
        bootId: host.proc.bootId(),
        bootedAt: new Date(host.proc.bootTimeMs()).toISOString(),
      },
      os: { ...release },
      kernel: { release: os.release(), version: os.version(), architecture: os.machine() },
      virtualisation,
      cpu,
      memory: {
        totalBytes: memory.totalBytes,
        availableBytes: memory.availableBytes,
        swapBytes: memory.swapTotalBytes,
      },
      disks,
      fileSystems: rooms.map(({ mount, device, type, sizeBytes, freeBytes, inodes, inodesFree, options }) => ({
        mount,
        device,
        type,
        sizeBytes,
        freeBytes,
        inodes,
        inodesFree,
        readOnly: options.has("ro"),
      })),
      interfaces: interfacesOf(links),
      tools,
      debvisor: { version, node: process.versions.node },
    };
  };
}

async function readVirtualisation(host: Host, signal: AbortSignal): Promise<string> {
  const [word, dmi] = await Promise.all([detectVirt(signal), host.sys.dmi()]);
  return virtualisationOf({ detectVirt: word, ...dmi, hypervisorFlag: host.proc.cpuInfo().hypervisor });
}

function interfacesOf(links: ReadonlyMap<string, Link>): Facts["interfaces"] {
  const addresses = os.networkInterfaces();
  return [...links].map(([name, link]) => ({
    name,
    mac: link.mac,
    addresses: (addresses[name] ?? []).flatMap(({ cidr }) => cidr ?? []),
    speedMbps: link.speedMbps,
    mtu: link.mtu,
    up: link.up,
  }));
}
