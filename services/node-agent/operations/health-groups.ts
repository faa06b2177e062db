// SPDX-License-Identifier: Apache-2.0
/** What each group of health checks looks at. Collecting is here; what a finding means is decided in model/. */
import process from "node:process";
import type { HealthCheck, HealthGroup } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { NodeIdentity } from "@debvisor/shared/service";
import { type NodeAgentConfig, nodeAgentConfig } from "../config.ts";
import { readCertificate } from "../drivers/certificates.ts";
import { CHECKED_SUFFIX, findFault } from "../drivers/config-files.ts";
import { resolveName } from "../drivers/dns-lookup.ts";
import { isWritable } from "../drivers/file-systems.ts";
import { tryWriting, walk } from "../drivers/host-files.ts";
import { lastJournalLines, showUnits } from "../drivers/systemd.ts";
import { probeTcp } from "../drivers/tcp-probe.ts";
import type { Host } from "../host.ts";
import { binaryChecks, neededTools } from "../model/binary-checks.ts";
import {
  busCheck,
  certificateCheck,
  dnsCheck,
  endpointCheck,
  notConfigured,
  type ProbeResult,
} from "../model/connectivity-checks.ts";
import {
  type ConfigReading,
  configurationChecks,
  sshKeysCheck,
  stateFilesCheck,
  userCheck,
} from "../model/file-checks.ts";
import { findingsOf } from "../model/findings.ts";
import { parseMounts, turnedReadOnly } from "../model/mounts.ts";
import {
  inodeCheck,
  mountCheck,
  nothingRequired,
  readOnlyCheck,
  requiredFileCheck,
  resourceChecks,
  silentCheck,
  stateFolderCheck,
} from "../model/storage-checks.ts";
import { failedUnits, skippedUnitChecks, unitChecks, unitNames } from "../model/unit-checks.ts";
import { within } from "../reconcilers/repeat.ts";

const BUS_TIMEOUT_MS = 2_000;
const CONFIG_FOLDER = "/etc/debvisor";
const MAX_CONFIG_BYTES = 1024 * 1024;
/** How deep and how far our own folder is looked through. */
const STATE_DEPTH = 2;
const STATE_LIMIT = 500;

/** What the checks need. */
export interface HealthDeps {
  readonly node: NodeIdentity;
  readonly config: NodeAgentConfig;
  readonly clock: Clock;
  readonly bus: Pick<Bus, "connected" | "rtt">;
  readonly host: Host;
}

/** One group: collects and judges; rejects only on a bug. */
export type GroupRunner = (deps: HealthDeps, signal: AbortSignal) => Promise<HealthCheck[]>;

/** Every group in the order of the report. */
export const HEALTH_GROUPS: Readonly<Record<HealthGroup, GroupRunner>> = {
  binaries: checkBinaries,
  services: checkServices,
  connectivity: checkConnectivity,
  "file-system": checkFileSystem,
  resources: checkResources,
  permissions: checkPermissions,
  configuration: checkConfiguration,
};

function needsOf({ node, config, host }: HealthDeps): ReadonlySet<string> {
  return neededTools({ roles: node.roles, systemd: host.hasSystemd, configured: config.needs });
}

async function checkBinaries(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  return binaryChecks({
    versions: await deps.host.tools.read(signal),
    minimumVersions: deps.config.minimumVersions,
    needs: needsOf(deps),
    runtime: process.versions.node,
  });
}

async function checkServices(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  const { config, host } = deps;
  if (host.isLab) {
    return skippedUnitChecks(config.units, "The services of this node run as processes of the local cluster.");
  }
  if (!host.hasSystemd) {
    const init = host.proc.initName();
    return skippedUnitChecks(
      config.units,
      `systemd does not run this host; process 1 is ${init === "" ? "hidden" : init}.`,
    );
  }
  try {
    const units = await showUnits(unitNames(config.units), signal);
    const journal = failedUnits(units).map(async (unit) => [unit, await lastJournalLines(unit, signal)] as const);
    return unitChecks(units, needsOf(deps), config.units, new Map(await Promise.all(journal)));
  } catch (error) {
    const reason = toDvError(error).message;
    const hint = "Run systemctl status by hand; systemd or its bus is in trouble.";
    return [findingsOf("services").failed("systemd", `systemd cannot be asked: ${reason}`, hint)];
  }
}

async function checkConnectivity(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  const { config, bus, clock, host } = deps;
  const endpoints = config.endpoints.map(async (endpoint) => {
    const probe = await probeTcp(endpoint.host, endpoint.port, config.endpointTimeoutMs, signal);
    return endpointCheck(endpoint, probe, config.endpointSlowMs);
  });
  const names = config.dnsNames.map(async (name) =>
    dnsCheck(name, await resolveName(name, config.endpointTimeoutMs, { signal })),
  );
  const certificates = config.certificates.map(async (path) => {
    const actual = await host.files.resolve(path);
    const reading = actual === undefined ? { reason: "a link leads out of the node" } : await readCertificate(actual);
    return certificateCheck(path, reading, clock.now(), config.certificateWarnDays);
  });
  return await Promise.all([
    probeBus(bus, clock).then((rtt) => busCheck({ connected: bus.connected, rtt }, config.busRttWarnMs)),
    ...(endpoints.length > 0 ? endpoints : [notConfigured("tcp", "endpoints")]),
    ...(names.length > 0 ? names : [notConfigured("dns", "dnsNames")]),
    ...(certificates.length > 0 ? certificates : [notConfigured("certificate", "certificates")]),
  ]);
}

async function probeBus(bus: Pick<Bus, "rtt">, clock: Clock): Promise<ProbeResult> {
  const answer = bus.rtt().then(
    (ms) => ({ ms, reason: undefined }),
    (error: unknown) => ({ ms: 0, reason: toDvError(error).message }),
  );
  return (await within(clock, BUS_TIMEOUT_MS, answer)) ?? { ms: BUS_TIMEOUT_MS, reason: "no answer in time" };
}

async function checkFileSystem({ node, config, host }: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  const mounts = host.proc.mounts();
  const [{ rooms, silent }, fstab, written] = await Promise.all([
    host.ownRooms(),
    host.files.read("/etc/fstab", MAX_CONFIG_BYTES),
    tryWriting(node.stateDir),
  ]);
  const required = config.requiredMounts.map(async (path) => {
    const mount = mounts.findLast((candidate) => candidate.mount === path);
    return mountCheck(path, mount, mount === undefined ? undefined : await isWritable(mount, signal));
  });
  const files = config.requiredFiles.map(async (path) => requiredFileCheck(path, await host.files.exists(path)));
  return [
    stateFolderCheck(node.stateDir, written),
    readOnlyCheck("text" in fstab ? turnedReadOnly(parseMounts(fstab.text), mounts) : []),
    ...silent.map(silentCheck),
    ...rooms.map((room) => inodeCheck(room, config)),
    ...(required.length > 0 ? await Promise.all(required) : [nothingRequired("mounts")]),
    ...(files.length > 0 ? await Promise.all(files) : [nothingRequired("files")]),
  ];
}

async function checkResources({ config, host }: HealthDeps): Promise<HealthCheck[]> {
  const { rooms } = await host.ownRooms();
  const { proc, threads } = host;
  return resourceChecks({ fileSystems: rooms, memory: proc.memory(), load: proc.loadAverage(), threads }, config);
}

async function checkPermissions(deps: HealthDeps): Promise<HealthCheck[]> {
  const { node, host } = deps;
  const homes = (await host.files.list("/home")) ?? [];
  const folders = ["/root/.ssh", ...homes.map((home) => `/home/${home}/.ssh`)];
  const keys = folders.map(async (folder) => {
    const actual = await host.files.resolve(folder);
    return actual === undefined ? [] : ((await walk(actual, 1, STATE_LIMIT)) ?? []);
  });
  return [
    userCheck(host.uid, needsOf(deps)),
    stateFilesCheck(node.stateDir, await walk(node.stateDir, STATE_DEPTH, STATE_LIMIT), host.uid),
    sshKeysCheck((await Promise.all(keys)).flat()),
  ];
}

async function checkConfiguration({ config, host }: HealthDeps): Promise<HealthCheck[]> {
  const names = (await host.files.list(CONFIG_FOLDER)) ?? [];
  const paths = [...names.map((name) => `${CONFIG_FOLDER}/${name}`), ...config.requiredFiles];
  const checked = [...new Set(paths)].filter((path) => CHECKED_SUFFIX.test(path));
  return configurationChecks(await Promise.all(checked.map((path) => readConfiguration(host, path))));
}

async function readConfiguration(host: Host, path: string): Promise<ConfigReading> {
  const reading = await host.files.read(path, MAX_CONFIG_BYTES);
  if ("reason" in reading) return { path, outcome: "unreadable", reason: reading.reason };
  const schema = path === `${CONFIG_FOLDER}/node-agent.yaml` ? nodeAgentConfig : undefined;
  const fault = await findFault(path, reading.text, schema);
  return fault === undefined ? { path, outcome: "valid" } : { path, outcome: "faulty", fault };
}
