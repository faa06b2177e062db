// SPDX-License-Identifier: Apache-2.0
/** Everything configurable of the node agent: `node-agent.yaml`, `DV_NODE_AGENT_<KEY>`, flags. */

import { isHost, isHostName } from "@debvisor/shared/validate";
import { z } from "zod";
import { DEFAULT_MINIMUM_VERSIONS, TOOLS } from "./model/tools.ts";

const percentage = z.number().min(0).max(100);
const interval = z
  .number()
  .int()
  .min(100)
  .max(24 * 3600 * 1000);
const toolName = z.enum(TOOLS.map(({ name }) => name));
const hostPath = z.string().regex(/^\//, "an absolute path").max(4096);

const host = z.string().refine(isHost, "a host name or an address").describe("Name or address.");
const port = z.number().int().min(1).max(65_535).describe("TCP port.");

/** Configuration of the node agent. A key that is not listed is refused, so that a misspelt one is not ignored. */
export const nodeAgentConfig = z.strictObject({
  heartbeatMs: interval.default(2_000).describe("Time between heartbeats."),
  metricsMs: interval.default(15_000).describe("Time between metrics messages."),
  refreshMs: interval
    .default(10_000)
    .describe("How often the round trip to the bus and the room on disks are read for heartbeats."),
  healthEveryMs: interval.default(60_000).describe("Time between the health checks whose changes are published."),
  healthTimeoutMs: interval
    .max(29_000)
    .default(20_000)
    .describe("Longest time of one health check; what is not done by then fails."),
  toolCacheMs: interval.default(300_000).describe("How long the version of an unchanged program is remembered."),
  diskFreePercentWarn: percentage.default(15).describe("Free room on a file system below which a check warns."),
  diskFreePercentFail: percentage.default(5).describe("Free room on a file system below which a check fails."),
  inodesFreePercentWarn: percentage.default(10).describe("Free inodes below which a check warns."),
  inodesFreePercentFail: percentage.default(3).describe("Free inodes below which a check fails."),
  memoryFreePercentWarn: percentage.default(10).describe("Available memory below which a check warns."),
  memoryFreePercentFail: percentage.default(3).describe("Available memory below which a check fails."),
  loadPerThreadWarn: z
    .number()
    .positive()
    .default(8)
    .describe("Load over 15 minutes, per processor thread, above which a check warns."),
  loadPerThreadFail: z
    .number()
    .positive()
    .default(16)
    .describe("Load over 15 minutes, per processor thread, above which a check fails."),
  busRttWarnMs: z.number().positive().default(250).describe("Round trip to the bus above which a check warns."),
  needs: z
    .array(toolName)
    .default([])
    .describe("Tools that this node needs besides those of its role; their services are checked as well."),
  minimumVersions: z
    .partialRecord(toolName, z.string().regex(/^\d+(\.\d+)*$/, "release numbers such as 2.15.0"))
    .default(DEFAULT_MINIMUM_VERSIONS)
    .describe("Oldest version of a needed tool that passes."),
  natsServerPath: hostPath.optional().describe("The nats-server of this node; default: NATS_SERVER, then PATH."),
  units: z
    .array(z.string().regex(/^[\w@.:\\-]+\.(service|socket|timer|target|mount)$/, "a unit's full name"))
    .default([])
    .describe("Further systemd units that have to be active."),
  endpoints: z
    .array(z.strictObject({ host, port }))
    .max(64)
    .default([])
    .describe("TCP endpoints that must accept connections."),
  endpointTimeoutMs: interval
    .max(10_000)
    .default(2_000)
    .describe("Longest time of one probe of an endpoint or a name."),
  endpointSlowMs: interval.default(500).describe("Time to connect above which a check warns."),
  sshHosts: z
    .array(z.strictObject({ host, port: port.default(22) }))
    .max(64)
    .default([])
    .describe("Hosts whose SSH server must answer."),
  sshKeys: z.array(hostPath).max(64).default([]).describe("Private SSH keys that must exist with mode 0600."),
  dnsNames: z
    .array(z.string().refine(isHostName, "a host name"))
    .max(64)
    .default([])
    .describe("Names that the host's DNS servers must resolve."),
  certificates: z
    .array(hostPath)
    .max(64)
    .default([])
    .describe("Certificate files (PEM or DER) whose expiry is watched."),
  certificateWarnDays: z
    .number()
    .int()
    .min(1)
    .max(3650)
    .default(30)
    .describe("Days before expiry from which a check warns."),
  requiredFiles: z
    .array(hostPath)
    .max(256)
    .default([])
    .describe("Files that must exist; yaml, json and ini must parse."),
  bindKeys: hostPath
    .default("/etc/bind/debvisor.keys")
    .describe("File of TSIG keys that is written for the BIND of this node; its named.conf includes it."),
  bindRndc: z
    .array(z.string().min(1).max(4096))
    .min(1)
    .max(16)
    .default(["rndc"])
    .describe("Program and arguments by which BIND is told to read it; `reconfig` is added."),
  bindConfig: hostPath
    .default("/etc/bind/named.conf")
    .describe("Configuration that named-checkconf looks at before, where both exist."),
  requiredMounts: z.array(hostPath).max(64).default([]).describe("Mount points that must be mounted and writable."),
});

/** Configuration as the service sees it. */
export type NodeAgentConfig = z.output<typeof nodeAgentConfig>;
