// SPDX-License-Identifier: Apache-2.0
/** Which programs a node needs, and whether those present are new enough. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { findingsOf } from "./findings.ts";
import { compareVersions, TOOLS, type Tool, UNKNOWN_VERSION } from "./tools.ts";

/** Oldest runtime that strips types. */
export const MINIMUM_NODE_VERSION = "26.0.0";

/** What the binaries group looks at. */
export interface BinaryFacts {
  /** Version by tool; null or absent when it is not installed. */
  readonly versions: Readonly<Record<string, string | null>>;
  readonly minimumVersions: Readonly<Partial<Record<string, string>>>;
  readonly needs: ReadonlySet<string>;
  /** Version of the Node that runs this service, without `v`. */
  readonly runtime: string;
}

const { passed, warned, failed, skipped } = findingsOf("binaries");

/**
 * The tools that a node needs: a server runs nats-server, a host run by systemd is driven through systemctl, and the
 * configuration names more. Everything else may be missing.
 */
export function neededTools(node: {
  readonly roles: readonly string[];
  readonly systemd: boolean;
  readonly configured: readonly string[];
}): ReadonlySet<string> {
  const needs = new Set<string>(node.configured);
  if (node.roles.includes("server")) needs.add("nats-server");
  if (node.systemd) needs.add("systemctl");
  return needs;
}

/** One check for the runtime and one for each known tool. */
export function binaryChecks(facts: BinaryFacts): HealthCheck[] {
  return [runtimeCheck(facts.runtime), ...TOOLS.map((tool) => toolCheck(tool, facts))];
}

function runtimeCheck(version: string): HealthCheck {
  if (compareVersions(version, MINIMUM_NODE_VERSION) >= 0) return passed("node", `Node ${version} runs this service.`);
  const hint = "Start the services with the project's own Node: run npm install, or correct ExecStart of the units.";
  return failed("node", `Node ${version} runs this service; ${MINIMUM_NODE_VERSION} or later is needed.`, hint, true);
}

function toolCheck(tool: Tool, facts: BinaryFacts): HealthCheck {
  const { name } = tool;
  const version = facts.versions[name] ?? null;
  if (!facts.needs.has(name)) {
    const present = version === null ? "is not installed" : `${version} is installed`;
    return skipped(name, `${name} ${present}; nothing on this node needs it.`);
  }
  const minimum = facts.minimumVersions[name];
  // Without its message bus a server is no server; every other tool costs only what it drives.
  const critical = name === "nats-server";
  const wanted = minimum === undefined ? name : `${name} ${minimum} or later`;
  if (version === null) {
    const install = critical ? installNats(minimum) : `Install the Debian package ${tool.package}.`;
    return failed(name, `${wanted} is needed and not installed.`, install, critical);
  }
  if (version === UNKNOWN_VERSION) {
    return warned(
      name,
      `${name} is installed but does not tell its version.`,
      `Run ${name} ${tool.args.join(" ")} by hand.`,
    );
  }
  if (minimum !== undefined && compareVersions(version, minimum) < 0) {
    const upgrade = critical ? installNats(minimum) : `Upgrade the Debian package ${tool.package}.`;
    return failed(name, `${name} ${version} is installed; ${minimum} or later is needed.`, upgrade, critical);
  }
  return passed(name, `${name} ${version} is installed.`);
}

function installNats(minimum: string | undefined): string {
  const version = minimum === undefined ? "nats-server" : `nats-server ${minimum} or later`;
  return `Install ${version}, name it in NATS_SERVER, or fetch it: node tools/run.cjs tools/get-nats-server.ts`;
}
