// SPDX-License-Identifier: Apache-2.0
/** Everything that operations and loops read from the host or do to it, put together once from the drivers. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import type { NodeIdentity } from "@debvisor/shared/service";
import type { NodeAgentConfig } from "./config.ts";
import { roomOf } from "./drivers/file-systems.ts";
import { createHostFiles, type HostFiles } from "./drivers/host-files.ts";
import { createHostFileWriter, type HostFileWriter } from "./drivers/host-files-write.ts";
import { createLabSupervisor } from "./drivers/lab-supervisor.ts";
import { locateNats } from "./drivers/nats-server.ts";
import { createNoServiceManager } from "./drivers/no-service-manager.ts";
import { createProcFs, type ProcFs } from "./drivers/proc-fs.ts";
import { createSysFs, type SysFs } from "./drivers/sys-fs.ts";
import { createSystemctl } from "./drivers/systemctl.ts";
import { createToolVersions, type ToolVersions } from "./drivers/tool-versions.ts";
import { type FileSystem, localMounts, type Mount, mountOf, type Room } from "./model/mounts.ts";
import type { ServiceManager } from "./model/unit-state.ts";
import { within } from "./reconcilers/repeat.ts";

/** A local file system that does not answer within this time counts as hanging. */
const ROOM_TIMEOUT_MS = 2_000;

/** Room on file systems, and those that did not answer. */
export interface Rooms {
  readonly rooms: readonly FileSystem[];
  readonly silent: readonly Mount[];
}

/** The host as this service sees it. */
export interface Host {
  readonly proc: ProcFs;
  readonly sys: SysFs;
  readonly files: HostFiles;
  readonly tools: ToolVersions;
  readonly threads: number;
  readonly uid: number;
  /** True on a node of the local cluster, whose root is a folder. */
  readonly isLab: boolean;
  /** True where systemd runs as process 1 and this node is the whole machine. */
  readonly hasSystemd: boolean;
  /** Room on the local disks of the machine. */
  rooms(): Promise<Rooms>;
  /** Room on the file systems that this node lives on: in the local cluster the one that its folder is on. */
  ownRooms(): Promise<Rooms>;
}

/** What operations do to the host by. */
export interface HostControl {
  readonly files: HostFileWriter;
  readonly manager: ServiceManager;
}

/** Puts the drivers that change something together. Touches nothing. */
export function createHostControl(
  { root, stateDir }: Pick<NodeIdentity, "root" | "stateDir">,
  { isLab, hasSystemd, proc }: Pick<Host, "isLab" | "hasSystemd" | "proc">,
): HostControl {
  const nodeDir = join(stateDir, "../..");
  const boot = () => ({ bootId: proc.bootId(), startedAt: new Date(proc.bootTimeMs()).toISOString() });
  return {
    files: createHostFileWriter({ root, ownDir: nodeDir }),
    manager: isLab ? createLabSupervisor(nodeDir) : hasSystemd ? createSystemctl(boot) : createNoServiceManager(boot),
  };
}

/** Puts the drivers together for a node. Reads nothing but the name of process 1. */
export function createHost(
  node: Pick<NodeIdentity, "root" | "stateDir">,
  config: NodeAgentConfig,
  clock: Clock = systemClock,
): Host {
  const proc = createProcFs();
  const isLab = node.root !== "/";
  const readRooms = createRoomReader(clock);
  return {
    proc,
    sys: createSysFs(),
    files: createHostFiles(node.root),
    tools: createToolVersions({
      monotonic: () => clock.monotonic(),
      cacheMs: config.toolCacheMs,
      locate: async (tool) =>
        tool === "nats-server" ? await locateNats(config.natsServerPath, node.stateDir) : undefined,
    }),
    threads: availableParallelism(),
    uid: process.getuid?.() ?? 0,
    isLab,
    hasSystemd: !isLab && proc.initName() === "systemd",
    rooms: () => readRooms(localMounts(proc.mounts())),
    ownRooms: () => {
      const mounts = proc.mounts();
      const own = isLab ? mountOf(mounts, node.root) : undefined;
      return readRooms(isLab ? (own === undefined ? [] : [own]) : localMounts(mounts));
    },
  };
}

/**
 * Reads room with a limit in time. While a file system hangs, its one question stays open and later callers join it, so
 * that it never takes more than one of Node's worker threads.
 */
function createRoomReader(clock: Clock): (mounts: readonly Mount[]) => Promise<Rooms> {
  const open = new Map<string, Promise<Room | undefined>>();
  const ask = (mount: Mount): Promise<Room | undefined> => {
    const asked = open.get(mount.mount) ?? roomOf(mount).finally(() => open.delete(mount.mount));
    open.set(mount.mount, asked);
    return asked;
  };
  return async (mounts) => {
    const answers = await Promise.all(
      mounts.map(async (mount) => {
        const answer = await within(
          clock,
          ROOM_TIMEOUT_MS,
          ask(mount).then((room) => ({ room })),
        );
        return { mount, answer };
      }),
    );
    return {
      rooms: answers.flatMap(({ mount, answer }) =>
        answer?.room !== undefined && answer.room.sizeBytes > 0 ? [{ ...mount, ...answer.room }] : [],
      ),
      silent: answers.flatMap(({ mount, answer }) => (answer === undefined ? [mount] : [])),
    };
  };
}
