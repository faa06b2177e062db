// SPDX-License-Identifier: Apache-2.0
/** Units as operations see them: the names that mean the same, and what systemd says of one. */
import type { Unit } from "@debvisor/proto-events/host";

export type { Unit } from "@debvisor/proto-events/host";

/** Who starts and stops services on a host. */
export interface ServiceManager {
  /** Our own services. @throws TOOL_FAILED, TOOL_MISSING */
  list(signal?: AbortSignal): Promise<readonly Unit[]>;
  /** One unit by any of its names. @throws UNIT_NOT_MANAGED, TOOL_FAILED, TOOL_MISSING */
  get(unit: string, signal?: AbortSignal): Promise<Unit>;
  /** Has a unit stop and start; returns before it is up. @throws as `get` */
  restart(unit: string, signal?: AbortSignal): Promise<void>;
  /** The host since it was started. @throws TOOL_FAILED */
  boot(signal?: AbortSignal): Promise<Boot>;
  /** Restarts the host; returns before it goes down. @throws TOOL_FAILED */
  reboot(signal?: AbortSignal): Promise<void>;
}

/** A host since it was started. */
export interface Boot {
  readonly bootId: string;
  readonly startedAt: string;
  /** Whether `reboot` can work here. */
  readonly rebootable: boolean;
}

/** Properties to ask `systemctl show` for, with `--timestamp=unix`. */
export const UNIT_STATE_PROPERTIES = [
  "Id",
  "LoadState",
  "ActiveState",
  "InvocationID",
  "ActiveEnterTimestamp",
  "ConditionResult",
] as const;

const PREFIX = "debvisor-";
const SUFFIX = ".service";
/** Services whose unit has another name than they have. */
const UNIT_NAMES = new Map([["gateway", "rpcd"]]);

/** Name of a service of ours: `gateway` for `gateway`, `debvisor-gateway.service` and `debvisor-rpcd.service`. */
export function serviceNameOf(unit: string): string {
  const name = unit.endsWith(SUFFIX) ? unit.slice(0, -SUFFIX.length) : unit;
  if (!name.startsWith(PREFIX)) return name;
  const own = name.slice(PREFIX.length);
  return [...UNIT_NAMES].find(([, unitName]) => unitName === own)?.[0] ?? own;
}

/** What systemd may know the unit as, likeliest first: ours before another one of that name. */
export function systemdNames(unit: string): readonly [string, ...string[]] {
  if (/\.[a-z]+$/.test(unit)) return [unit];
  const own = serviceNameOf(unit);
  const ours = `${PREFIX}${UNIT_NAMES.get(own) ?? own}${SUFFIX}`;
  return unit.startsWith(PREFIX) ? [ours] : [ours, `${unit}${SUFFIX}`];
}

/** Units that `systemctl show` printed, that exist and whose conditions this machine meets, by id. Never throws. */
export function parseUnitStates(text: string): Unit[] {
  return text.split(/\n\s*\n/).flatMap((block) => {
    const fields = new Map(
      block.split("\n").flatMap((line) => {
        const at = line.indexOf("=");
        return at > 0 ? [[line.slice(0, at), line.slice(at + 1).trim()] as const] : [];
      }),
    );
    const field = (name: (typeof UNIT_STATE_PROPERTIES)[number]) => fields.get(name) ?? "";
    const id = field("Id");
    if (id === "" || field("LoadState") !== "loaded") return [];
    const state = stateOf(field("ActiveState"));
    // On this machine it has no work: a bus on a worker, the join of a member.
    if (state === "stopped" && field("ConditionResult") === "no") return [];
    const up = state === "running" || state === "starting";
    const seconds = /^@(\d+)/.exec(field("ActiveEnterTimestamp"))?.[1];
    return [
      {
        name: id.startsWith(PREFIX) ? serviceNameOf(id) : id,
        state,
        invocation: up ? field("InvocationID") || null : null,
        startedAt: state === "running" && seconds ? new Date(Number(seconds) * 1_000).toISOString() : null,
      },
    ];
  });
}

/** systemd calls a unit that it starts again in a moment activating as well. */
function stateOf(active: string): Unit["state"] {
  switch (active) {
    case "active":
    case "reloading":
    case "refreshing":
      return "running";
    case "activating":
      return "starting";
    case "inactive":
    case "deactivating":
      return "stopped";
    case "failed":
      return "failed";
    default:
      return "unknown";
  }
}
