// SPDX-License-Identifier: Apache-2.0
/** What simulated agents answer: the sizes and values of a small Debian host. Typed by the contract, so they stay valid. */
import type { Facts, Health, Heartbeat, Metrics } from "@debvisor/proto-events/node-agent";
import { errorReply, okReply } from "@debvisor/shared/bus/wire";

const GIB = 1024 ** 3;

/** A simulated agent's identity. */
export interface AgentIdentity {
  readonly id: string;
  readonly name: string;
}

/** Makes the data of each operation by its name on the wire. `time` is RFC 3339. */
export const ANSWERS: Readonly<Record<string, (agent: AgentIdentity, time: string) => unknown>> = {
  "get-metrics": (_agent, time) => metrics(time),
  "get-facts": facts,
  "check-health": (_agent, time) => health(time),
};

/** A failure that the contract does not list as a refusal, and one that is a refusal. */
export const FAILURE = errorReply({
  code: "TOOL_FAILED",
  kind: "operation-failed",
  message: "lsblk ended with status 32.",
});
export const REFUSAL = errorReply({
  code: "PERMISSION_DENIED",
  kind: "permission-denied",
  message: "Not on this node.",
});

/** Replies that are none: no JSON, no frame, a frame around no JSON, data of another operation, nothing. */
export const MALFORMED: readonly string[] = [
  "\u0000garbage",
  '{"answer":42}',
  okReply("{"),
  okReply('{"other":true}'),
  "",
];

/** A heartbeat. */
export function heartbeat({ id, name }: AgentIdentity, sequence: number, bootId: string): Heartbeat {
  return {
    node: id,
    name,
    roles: ["worker"],
    version: "0.1.0",
    addresses: ["192.0.2.1"],
    bootId,
    sequence,
    time: new Date().toISOString(),
    metrics: { overall: "ok", load1: 0.42, cpuPercent: 7.5, memoryPercent: 31.2, diskPercent: 44.1, busRttMs: 0.35 },
  };
}

function metrics(time: string): Metrics {
  return {
    collectedAt: time,
    load: [0.42, 0.37, 0.31],
    cpuPercent: 7.5,
    memory: { totalBytes: 32 * GIB, usedBytes: 10 * GIB, swapUsedBytes: 0 },
    disks: [{ name: "nvme0n1", readBytesPerSecond: 120_000, writtenBytesPerSecond: 340_000, busyPercent: 2.1 }],
    networks: [{ name: "enp1s0", receivedBytesPerSecond: 81_000, sentBytesPerSecond: 64_000, errors: 0 }],
    fileSystems: [
      { mount: "/", usedPercent: 44.1 },
      { mount: "/boot/efi", usedPercent: 3.4 },
    ],
    uptimeSeconds: 864_000,
  };
}

function facts({ name }: AgentIdentity, time: string): Facts {
  return {
    collectedAt: time,
    host: { hostname: name, machineId: null, bootId: "simulated", bootedAt: time },
    os: { id: "debian", name: "Debian GNU/Linux 13 (trixie)", version: "13", codename: "trixie" },
    kernel: { release: "6.12.0-amd64", version: "#1 SMP Debian", architecture: "x86_64" },
    virtualisation: "none",
    cpu: { model: "AMD EPYC 8124P", sockets: 1, cores: 16, threads: 32, flags: ["svm", "aes", "avx2"] },
    memory: { totalBytes: 32 * GIB, availableBytes: 22 * GIB, swapBytes: 0 },
    disks: [{ name: "nvme0n1", sizeBytes: 960e9, model: "simulated", serial: null, rotational: false, type: "disk" }],
    fileSystems: [
      {
        mount: "/",
        device: "/dev/nvme0n1p2",
        type: "ext4",
        sizeBytes: 900e9,
        freeBytes: 500e9,
        inodes: 58e6,
        inodesFree: 57e6,
        readOnly: false,
      },
    ],
    interfaces: [{ name: "enp1s0", mac: null, addresses: ["192.0.2.1/24"], speedMbps: 10_000, mtu: 1_500, up: true }],
    tools: { "nats-server": "2.15.1", zfs: "2.3.2", ceph: null },
    debvisor: { version: "0.1.0", node: "26.10.0" },
  };
}

function health(time: string): Health {
  return {
    verdict: "healthy",
    score: 100,
    checkedAt: time,
    ms: 12,
    counts: { passed: 1, warned: 0, failed: 0, skipped: 0 },
    checks: [
      {
        id: "services.nats-server",
        group: "services",
        status: "passed",
        message: "nats-server runs.",
        hint: null,
        critical: true,
      },
    ],
  };
}
