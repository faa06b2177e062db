// SPDX-License-Identifier: Apache-2.0
/** What the groups of health checks are given, and what several of them derive from it. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import type { NodeIdentity } from "@debvisor/shared/service";
import type { NodeAgentConfig } from "../config.ts";
import type { Host } from "../host.ts";
import { neededTools } from "../model/binary-checks.ts";

/** Folder of the configuration as the host sees it. */
export const CONFIG_FOLDER = "/etc/debvisor";
/** Largest text that a check reads. */
export const MAX_TEXT_BYTES = 1024 * 1024;

/** What the checks need. */
export interface HealthDeps {
  readonly node: Pick<NodeIdentity, "roles" | "stateDir">;
  readonly config: NodeAgentConfig;
  readonly clock: Clock;
  /** Undefined in the pre-flight: a person asks about this machine alone, through no bus. */
  readonly bus: Pick<Bus, "connected" | "rtt"> | undefined;
  readonly host: Host;
  /** Why there is no folder of a node to look into; undefined where `node.stateDir` is one. */
  readonly noState?: string | undefined;
}

/** One group: collects and judges; rejects only on a bug. */
export type GroupRunner = (deps: HealthDeps, signal: AbortSignal) => Promise<HealthCheck[]>;

/** The tools that this node needs. */
export function needsOf({ node, config, host }: HealthDeps): ReadonlySet<string> {
  return neededTools({ roles: node.roles, systemd: host.hasSystemd, configured: config.needs });
}
