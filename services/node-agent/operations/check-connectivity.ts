// SPDX-License-Identifier: Apache-2.0
/** The group `connectivity`: the message bus, SSH keys and hosts, TCP endpoints, DNS, certificates. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { readCertificate } from "../drivers/certificates.ts";
import { resolveName } from "../drivers/dns-lookup.ts";
import { describe, walk } from "../drivers/host-files.ts";
import { probeTcp } from "../drivers/tcp-probe.ts";
import type { Host } from "../host.ts";
import {
  busCheck,
  certificateCheck,
  dnsCheck,
  endpointCheck,
  notConfigured,
  type ProbeResult,
} from "../model/connectivity-checks.ts";
import type { FileEntry } from "../model/file-checks.ts";
import { findingsOf } from "../model/findings.ts";
import { SSH_GREETING, sshHostCheck, sshKeysCheck } from "../model/ssh-checks.ts";
import { within } from "../reconcilers/repeat.ts";
import type { HealthDeps } from "./health-deps.ts";

const BUS_TIMEOUT_MS = 2_000;
/** Most entries of one `.ssh` folder that are looked at. */
const SSH_FOLDER_LIMIT = 500;

/** Runs the group. */
export async function checkConnectivity(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  const { config, clock, host } = deps;
  const endpoints = config.endpoints.map(async (endpoint) => {
    const probe = await probeTcp(endpoint.host, endpoint.port, config.endpointTimeoutMs, { signal });
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
    checkBus(deps),
    checkSshKeys(deps),
    ...checkSshHosts(deps, signal),
    ...(endpoints.length > 0 ? endpoints : [notConfigured("tcp", "endpoints")]),
    ...(names.length > 0 ? names : [notConfigured("dns", "dnsNames")]),
    ...(certificates.length > 0 ? certificates : [notConfigured("certificate", "certificates")]),
  ]);
}

async function checkBus({ bus, clock, config }: HealthDeps): Promise<HealthCheck> {
  if (bus === undefined) {
    return findingsOf("connectivity").skipped("bus", "Not asked: this is the pre-flight of one machine.");
  }
  return busCheck({ connected: bus.connected, rtt: await probeBus(bus, clock) }, config.busRttWarnMs);
}

async function probeBus(bus: Pick<Bus, "rtt">, clock: Clock): Promise<ProbeResult> {
  const answer = bus.rtt().then(
    (ms) => ({ ms, reason: undefined }),
    (error: unknown) => ({ ms: 0, reason: toDvError(error).message }),
  );
  return (await within(clock, BUS_TIMEOUT_MS, answer)) ?? { ms: BUS_TIMEOUT_MS, reason: "no answer in time" };
}

function checkSshHosts({ config }: HealthDeps, signal: AbortSignal): Promise<HealthCheck>[] {
  if (config.sshHosts.length === 0) return [Promise.resolve(notConfigured("ssh", "sshHosts"))];
  return config.sshHosts.map(async (target) => {
    const options = { signal, greeting: SSH_GREETING };
    const probe = await probeTcp(target.host, target.port, config.endpointTimeoutMs, options);
    return sshHostCheck(target, probe);
  });
}

async function checkSshKeys({ config, host }: HealthDeps): Promise<HealthCheck> {
  const homes = (await host.files.list("/home")) ?? [];
  const folders = ["/root/.ssh", ...homes.map((home) => `/home/${home}/.ssh`)];
  const [found, named] = await Promise.all([
    Promise.all(folders.map((folder) => filesIn(host, folder))),
    Promise.all(config.sshKeys.map(async (path) => ({ path, entry: await fileAt(host, path) }))),
  ]);
  return sshKeysCheck({ found: found.flat(), named, hosts: config.sshHosts.length });
}

async function filesIn(host: Host, folder: string): Promise<FileEntry[]> {
  const actual = await host.files.resolve(folder);
  return actual === undefined ? [] : ((await walk(actual, 1, SSH_FOLDER_LIMIT)) ?? []);
}

async function fileAt(host: Host, path: string): Promise<FileEntry | undefined> {
  const actual = await host.files.resolve(path);
  return actual === undefined ? undefined : await describe(actual);
}
