// SPDX-License-Identifier: Apache-2.0
/**
 * Machines of a cluster in the namespaces of a LAN, run as the units of systemd/ run them: join until there is a membership, then
 * the bus (servers only) and the services, each a process of its own that is started again after a failure.
 */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { nodePaths } from "@debvisor/shared/node-files";
import { NATS_CACHE_DIR, ROOT } from "../../tools/paths.ts";
import type { Lan } from "./lan.ts";
import { Machine, type MachineOptions } from "./node-machine.ts";
import { waitFor } from "./wait-for.ts";

/** Services of every node, and those of servers; the same division as the conditions of the units. */
const SERVICES = ["node-agent", "discovery", "audit"];
const SERVER_SERVICES = ["gateway"];
/** The unit that has another name than its service. */
const UNITS: Readonly<Record<string, string>> = { gateway: "rpcd" };

export interface NodeMachineOptions extends Omit<MachineOptions, "files" | "env"> {
  /** Text of /etc/debvisor/preseed.yaml; a machine without one joins by hand. */
  readonly preseed?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

/** Turns on a machine and starts its join; the rest follows by itself once it is a member. */
export async function startMachine(lan: Lan, host: number, options: NodeMachineOptions = {}): Promise<Machine> {
  const { preseed, files = {}, env = {}, ...rest } = options;
  const natsServer = await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined });
  const machine = new Machine(lan, host, {
    ...rest,
    files: { ...files, ...(preseed === undefined ? {} : { "preseed.yaml": preseed }) },
    env: {
      NATS_SERVER: natsServer.path,
      NODE_COMPILE_CACHE: path.join(ROOT, "node_modules/.cache/compile"),
      MALLOC_ARENA_MAX: "1",
      ...env,
    },
  });
  try {
    await boot(machine);
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}

/** Turns on a machine that is off, with what its disk holds. */
export async function boot(machine: Machine): Promise<void> {
  await machine.powerOn();
  void startUnits(machine).catch((error: unknown) => machine.log.push(`boot: ${String(error)}`));
}

/** Resolves when the machine has become a member and its services have been started. @throws Error with the end of its log */
export async function untilMember(machine: Machine, patienceMs: number): Promise<void> {
  await waitFor(
    () => machine.units().includes("discovery"),
    patienceMs,
    () => `${machine.name} is no member; ${machine.tail()}`,
  );
}

/** What a machine's node folder says of it, once it is a member. */
export function membershipOf(machine: Machine): { cluster: string; formation: string; isServer: boolean } {
  const file = nodePaths(machine.nodeDir).membership;
  const { cluster, formation, server } = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  return { cluster: String(cluster), formation: String(formation), isServer: server !== undefined };
}

/** The command of one of our entries on a machine. */
export function entry(machine: Machine, file: string): string[] {
  return [process.execPath, path.join(ROOT, file), "--node-dir", machine.nodeDir];
}

/** Starts the units of a machine that is on; resolves when all have been started. */
export async function startUnits(machine: Machine): Promise<void> {
  const membership = nodePaths(machine.nodeDir).membership;
  const start = (name: string) => machine.supervise(name, commandOf(machine, name));
  if (!existsSync(membership)) {
    const join = start("join");
    await join.ended;
    // It ended with the machine, or without a membership: there is nothing to start.
    if (!machine.isOn || !existsSync(membership)) return;
  }
  const { isServer } = membershipOf(machine);
  for (const name of [...(isServer ? ["nats"] : []), ...SERVICES, ...(isServer ? SERVER_SERVICES : [])]) start(name);
}

/** What a unit runs, with the folders of a test machine. */
function commandOf(machine: Machine, name: string): string[] {
  const unit = readFileSync(path.join(ROOT, "systemd", `debvisor-${UNITS[name] ?? name}.service`), "utf8");
  const [program = "", ...args] = (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? "").split(" ");
  if (!program.endsWith("/debvisor-node")) throw new Error(`the unit of ${name} does not run our Node`);
  const places = { "/opt/debvisor": ROOT, "/var/lib/debvisor": machine.nodeDir, "%d": "/etc/debvisor" };
  const here = (text: string) =>
    Object.entries(places).reduce((now, [from, to]) => (now.startsWith(from) ? now.replace(from, to) : now), text);
  return [process.execPath, ...args.map(here)];
}
