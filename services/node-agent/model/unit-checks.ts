// SPDX-License-Identifier: Apache-2.0
/** Reads what `systemctl show` prints and decides whether the units that a node needs are in order. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { findingsOf } from "./findings.ts";

/** State of a systemd unit, in systemd's own words. */
export interface UnitState {
  readonly id: string;
  readonly load: string;
  readonly active: string;
  readonly sub: string;
  readonly enabled: string;
  readonly type: string;
  /** Why it failed: `exit-code`, `timeout`, `signal` … */
  readonly result: string;
  /** Its conditions were not met when it was last asked to start. */
  readonly unwanted: boolean;
}

/** Properties to ask `systemctl show` for. */
export const UNIT_PROPERTIES = [
  "Id",
  "LoadState",
  "ActiveState",
  "SubState",
  "UnitFileState",
  "Type",
  "Result",
  "ConditionResult",
] as const;

/** Our own units, as a pattern that systemctl understands. */
export const OWN_UNITS = "debvisor-*.service";

/** A unit that a tool needs: the first is the usual name, any one active will do. */
export interface UnitNeed {
  readonly tool: string;
  readonly anyOf: readonly [string, ...string[]];
}

const NEEDS: readonly UnitNeed[] = [
  { tool: "ceph", anyOf: ["ceph.target"] },
  { tool: "zfs", anyOf: ["zfs.target", "zfs-zed.service"] },
  { tool: "virsh", anyOf: ["libvirtd.service", "virtqemud.service", "libvirtd.socket", "virtqemud.socket"] },
  { tool: "kubectl", anyOf: ["kubelet.service"] },
  { tool: "kubectl", anyOf: ["containerd.service", "crio.service", "docker.service"] },
  { tool: "named", anyOf: ["named.service", "bind9.service"] },
  { tool: "avahi-daemon", anyOf: ["avahi-daemon.service"] },
];

const { passed, warned, failed, skipped } = findingsOf("services");

/** Parses the output of `systemctl show`: one block per unit, blocks separated by an empty line. Never throws. */
export function parseUnits(text: string): Map<string, UnitState> {
  const units = new Map<string, UnitState>();
  for (const block of text.split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    for (const line of block.split("\n")) {
      const at = line.indexOf("=");
      if (at > 0) fields.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
    }
    const field = (name: (typeof UNIT_PROPERTIES)[number]) => fields.get(name) ?? "";
    const id = field("Id");
    if (id === "") continue;
    units.set(id, {
      id,
      load: field("LoadState"),
      active: field("ActiveState"),
      sub: field("SubState"),
      enabled: field("UnitFileState"),
      type: field("Type"),
      result: field("Result"),
      unwanted: field("ConditionResult") === "no",
    });
  }
  return units;
}

/** All units that somebody may need, for one question to systemd. */
export function unitNames(extra: readonly string[]): string[] {
  return [...new Set([...NEEDS.flatMap(({ anyOf }) => anyOf), ...extra, OWN_UNITS])];
}

/** Units that are in state `failed`; their last journal lines are worth reading. */
export function failedUnits(units: ReadonlyMap<string, UnitState>): string[] {
  return [...units.values()].filter(({ active }) => active === "failed").map(({ id }) => id);
}

/** The checks where systemd cannot be asked: the same ids, all skipped for one reason. */
export function skippedUnitChecks(extra: readonly string[], reason: string): HealthCheck[] {
  return [...NEEDS.map(({ anyOf }) => anyOf[0]), ...extra, "debvisor"].map((unit) => skipped(nameOf(unit), reason));
}

/**
 * One check per unit that a tool of `needs` has, per unit of `extra`, and per unit of our own. `journal` holds the last
 * lines of failed units.
 */
export function unitChecks(
  units: ReadonlyMap<string, UnitState>,
  needs: ReadonlySet<string>,
  extra: readonly string[],
  journal: ReadonlyMap<string, string>,
): HealthCheck[] {
  const byTool = NEEDS.map(({ tool, anyOf }) =>
    needs.has(tool)
      ? requiredCheck(anyOf, units, journal)
      : skipped(nameOf(anyOf[0]), `Nothing on this node needs ${tool}.`),
  );
  const byName = extra.map((unit) => requiredCheck([unit], units, journal));
  const own = [...units.values()].filter(({ id }) => id.startsWith("debvisor-") && !extra.includes(id));
  return [...byTool, ...byName, ...own.map((unit) => ownCheck(unit, journal))];
}

function requiredCheck(
  anyOf: readonly [string, ...string[]],
  units: ReadonlyMap<string, UnitState>,
  journal: ReadonlyMap<string, string>,
): HealthCheck {
  const states = anyOf.flatMap((name) => units.get(name) ?? []).filter(({ load }) => load !== "not-found");
  const active = states.find((unit) => unit.active === "active");
  if (active !== undefined) return passed(nameOf(anyOf[0]), `${active.id} is active.`);
  const [state] = states;
  if (state === undefined) {
    const hint = `Install the package that brings ${anyOf[0]}, then: systemctl enable --now ${anyOf[0]}`;
    return failed(nameOf(anyOf[0]), `${anyOf.join(" or ")} is not installed.`, hint);
  }
  return inactive(nameOf(anyOf[0]), state, journal, false);
}

/** Our own unit: a failed one is critical; an inactive one counts only if it should run all the time. */
function ownCheck(unit: UnitState, journal: ReadonlyMap<string, string>): HealthCheck {
  if (unit.active === "active") return passed(nameOf(unit.id), `${unit.id} is active.`);
  const permanent = unit.enabled === "enabled" && unit.type !== "oneshot";
  if (unit.active === "inactive" && unit.unwanted) {
    return skipped(nameOf(unit.id), `${unit.id} has no work on this machine: its conditions are not met.`);
  }
  if (unit.active === "inactive" && !permanent) {
    return skipped(nameOf(unit.id), `${unit.id} is not meant to run all the time.`);
  }
  return inactive(nameOf(unit.id), unit, journal, true);
}

function inactive(name: string, unit: UnitState, journal: ReadonlyMap<string, string>, critical: boolean): HealthCheck {
  if (unit.active === "activating" || unit.active === "reloading") {
    return warned(
      name,
      `${unit.id} is ${unit.active} (${unit.sub}).`,
      `Look again shortly; systemctl status ${unit.id}`,
    );
  }
  const lines = journal.get(unit.id)?.trimEnd() ?? "";
  const why = unit.active === "failed" ? ` with result ${unit.result}` : "";
  const message = `${unit.id} is ${unit.active}${why} (${unit.sub}).${lines === "" ? "" : `\n${lines}`}`;
  return failed(
    name,
    message,
    `journalctl -u ${unit.id}, correct the cause, then: systemctl restart ${unit.id}`,
    critical,
  );
}

/** `services.<name>`: the unit without its suffix. */
function nameOf(unit: string): string {
  return unit.replace(/\.(service|target)$/, "");
}
