// SPDX-License-Identifier: Apache-2.0
/** What one node is and how it does: facts, metrics and health of its host. */
import { z } from "zod";
import { NodeMetrics } from "./discovery.ts";
import { contract, event, operation, telemetry } from "./kit.ts";
import { NodeId, NodeName, NodeRole, Timestamp, Version } from "./primitives.ts";

/** Facts of a host. Sizes in bytes, speeds in megabits per second; null where the host does not say. */
export const Facts = z.object({
  collectedAt: Timestamp,
  host: z.object({ hostname: z.string(), machineId: z.string().nullable(), bootId: z.string(), bootedAt: Timestamp }),
  os: z.object({ id: z.string(), name: z.string(), version: z.string(), codename: z.string().nullable() }),
  kernel: z.object({ release: z.string(), version: z.string(), architecture: z.string() }),
  virtualisation: z
    .string()
    .describe("none, kvm, docker … as systemd-detect-virt names it; unknown when it cannot be told."),
  cpu: z.object({
    model: z.string(),
    sockets: z.number().int().positive(),
    cores: z.number().int().positive(),
    threads: z.number().int().positive(),
    flags: z.array(z.string()).describe("Of vmx, svm, aes, avx2, avx512f: those present."),
  }),
  memory: z.object({ totalBytes: z.number().int(), availableBytes: z.number().int(), swapBytes: z.number().int() }),
  disks: z.array(
    z.object({
      name: z.string(),
      sizeBytes: z.number().int(),
      model: z.string().nullable(),
      serial: z.string().nullable(),
      rotational: z.boolean().nullable(),
      type: z.string(),
    }),
  ),
  fileSystems: z.array(
    z.object({
      mount: z.string(),
      device: z.string(),
      type: z.string(),
      sizeBytes: z.number().int(),
      freeBytes: z.number().int().describe("Available to unprivileged users."),
      inodes: z.number().int(),
      inodesFree: z.number().int(),
      readOnly: z.boolean(),
    }),
  ),
  interfaces: z.array(
    z.object({
      name: z.string(),
      mac: z.string().nullable(),
      addresses: z.array(z.string()).describe("CIDR notation."),
      speedMbps: z.number().int().nullable(),
      mtu: z.number().int(),
      up: z.boolean(),
    }),
  ),
  tools: z
    .record(z.string(), z.string().nullable())
    .describe("Version of every tool that we drive; null when it is not installed."),
  debvisor: z.object({ version: Version, node: z.string().describe("Version of the runtime.") }),
});
export type Facts = z.output<typeof Facts>;

/** Load figures; rates are per second, averaged since the sample before. */
export const Metrics = z.object({
  collectedAt: Timestamp,
  load: z.tuple([z.number(), z.number(), z.number()]),
  cpuPercent: z.number().min(0).max(100),
  memory: z.object({ totalBytes: z.number(), usedBytes: z.number(), swapUsedBytes: z.number() }),
  disks: z.array(
    z.object({
      name: z.string(),
      readBytesPerSecond: z.number(),
      writtenBytesPerSecond: z.number(),
      busyPercent: z.number(),
    }),
  ),
  networks: z.array(
    z.object({
      name: z.string(),
      receivedBytesPerSecond: z.number(),
      sentBytesPerSecond: z.number(),
      errors: z.number(),
    }),
  ),
  fileSystems: z.array(z.object({ mount: z.string(), usedPercent: z.number() })),
  uptimeSeconds: z.number(),
});
export type Metrics = z.output<typeof Metrics>;

/** Groups of checks. The last four are the troubleshooting checks of HC-18. */
export const HealthGroup = z.enum([
  "binaries",
  "services",
  "connectivity",
  "file-system",
  "resources",
  "permissions",
  "configuration",
]);
export type HealthGroup = z.output<typeof HealthGroup>;

/** One finding. `skipped`: no role of this node needs it. */
export const HealthCheck = z.object({
  id: z.string().describe("Stable name, such as binaries.nats-server."),
  group: HealthGroup,
  status: z.enum(["passed", "warned", "failed", "skipped"]),
  message: z.string(),
  hint: z.string().nullable().describe("What to do; on every warned or failed check."),
  critical: z.boolean().describe("A failure makes the verdict critical."),
});
export type HealthCheck = z.output<typeof HealthCheck>;

/** Verdict over all checks of a node. */
export const Health = z.object({
  verdict: z.enum(["healthy", "degraded", "unhealthy", "critical"]),
  score: z.number().int().min(0).max(100),
  checkedAt: Timestamp,
  ms: z.number().nonnegative(),
  counts: z.object({
    passed: z.number().int(),
    warned: z.number().int(),
    failed: z.number().int(),
    skipped: z.number().int(),
  }),
  checks: z.array(HealthCheck),
});
export type Health = z.output<typeof Health>;

/** What a node says every two seconds; the registry is made from it. */
export const Heartbeat = z.object({
  node: NodeId,
  name: NodeName,
  roles: z.array(NodeRole.or(z.string())),
  version: Version,
  addresses: z.array(z.string()).max(64),
  bootId: z.string(),
  sequence: z.number().int().nonnegative().describe("Counts up from 0 since the agent's start."),
  time: Timestamp,
  metrics: NodeMetrics,
});
export type Heartbeat = z.output<typeof Heartbeat>;

export const nodeAgentContract = contract({
  service: "node-agent",
  summary: "Facts, metrics and health of the host it runs on. Its core part runs operations on hosts.",
  uses: {
    calls: ["discovery", "discovery-engine", "dns-engine"],
    commands: ["host"],
    streamsRead: ["DV_OPS", "DV_EVENTS"],
    streamsWrite: ["DV_OPS"],
    bucketsRead: ["dv_nodes", "dv_leases", "dv_locks", "dv_maintenance", "dv_operations"],
    bucketsWrite: ["dv_leases", "dv_locks", "dv_maintenance", "dv_operations"],
  },
  operations: {
    getFacts: operation({
      summary: "Show what hosts are: system, hardware, disks, networks, tool versions.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 10_000,
      permission: "node-agent:facts:get",
      input: z.strictObject({}),
      output: Facts,
      errors: ["TOOL_FAILED"],
      http: { method: "GET", path: "/v1/facts" },
      cli: {
        noun: "facts",
        verb: "show",
        columns: [
          { heading: "OS", value: "data.os.name" },
          { heading: "KERNEL", value: "data.kernel.release" },
          { heading: "CPU", value: "data.cpu.model" },
          { heading: "THREADS", value: "data.cpu.threads" },
          { heading: "MEMORY", value: "data.memory.totalBytes", as: "bytes" },
          { heading: "VIRT", value: "data.virtualisation" },
        ],
        examples: [
          { command: "dvctl facts show --nodes all", does: "One line per node." },
          { command: "dvctl facts show --nodes node-1 --format json", does: "Everything about one node." },
        ],
      },
    }),
    getMetrics: operation({
      summary: "Show how busy hosts are: load, processor, memory, disks, networks.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "node-agent:metrics:get",
      input: z.strictObject({}),
      output: Metrics,
      errors: [],
      http: { method: "GET", path: "/v1/metrics" },
      cli: {
        noun: "metrics",
        verb: "show",
        columns: [
          { heading: "LOAD", value: "data.load.0", as: "fixed2" },
          { heading: "CPU", value: "data.cpuPercent", as: "percent" },
          { heading: "MEMORY USED", value: "data.memory.usedBytes", as: "bytes" },
          { heading: "UP", value: "data.uptimeSeconds", as: "duration" },
        ],
        examples: [{ command: "dvctl metrics show --nodes all", does: "Show the load of every node." }],
      },
    }),
    checkHealth: operation({
      summary: "Run the health checks of hosts and show what is wrong and what to do.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 30_000,
      permission: "node-agent:health:check",
      input: z.strictObject({
        quick: z.stringbool().or(z.boolean()).default(false).describe("Only binaries and services."),
        only: z
          .union([
            z.array(HealthGroup),
            z
              .string()
              .transform((text) => text.split(","))
              .pipe(z.array(HealthGroup)),
          ])
          .optional()
          .describe("Only these groups, separated by commas."),
      }),
      output: Health,
      errors: [],
      http: { method: "GET", path: "/v1/health" },
      cli: {
        noun: "health",
        verb: "run",
        columns: [
          { heading: "VERDICT", value: "data.verdict" },
          { heading: "SCORE", value: "data.score" },
          { heading: "PASSED", value: "data.counts.passed" },
          { heading: "WARNED", value: "data.counts.warned" },
          { heading: "FAILED", value: "data.counts.failed" },
          { heading: "SKIPPED", value: "data.counts.skipped" },
        ],
        verdict: { value: "data.verdict", failed: ["unhealthy", "critical"], warned: ["degraded"] },
        findings: {
          rows: "data.checks",
          columns: [
            { heading: "STATUS", value: "status" },
            { heading: "CHECK", value: "id" },
            { heading: "MESSAGE", value: "message" },
            { heading: "WHAT TO DO", value: "hint" },
          ],
          hide: { value: "status", in: ["passed", "skipped"] },
        },
        examples: [
          { command: "dvctl health run --nodes all", does: "Check every node." },
          {
            command: "dvctl health run --nodes node-1 --only permissions,configuration",
            does: "Run two groups on one node.",
          },
        ],
      },
    }),
  },
  events: {
    "agent.started": event({
      summary: "The agent of a node started.",
      version: 1,
      payload: z.object({ node: NodeId, name: NodeName, version: Version, bootId: z.string(), pid: z.number().int() }),
    }),
    "agent.stopped": event({
      summary: "The agent of a node stops in an orderly way.",
      version: 1,
      payload: z.object({ node: NodeId, name: NodeName, bootId: z.string() }),
    }),
    "key.moved": event({
      summary:
        "Somebody bound the node's key to another machine, with `dvctl nodes rebind` there. If nobody meant to, it may be a copy of the disk.",
      version: 1,
      payload: z.object({ node: NodeId, name: NodeName, at: Timestamp }),
    }),
    "health.changed": event({
      summary: "The verdict of a node's health checks changed.",
      version: 1,
      payload: z.object({
        node: NodeId,
        name: NodeName,
        from: z.string().nullable(),
        to: z.string(),
        failed: z.array(z.string()),
      }),
    }),
  },
  telemetry: {
    heartbeat: telemetry({ summary: "The node lives; its identity and load. Every 2 s.", payload: Heartbeat }),
    metrics: telemetry({ summary: "Load figures of the host. Every 15 s.", payload: Metrics }),
  },
});
