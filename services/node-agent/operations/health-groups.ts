// SPDX-License-Identifier: Apache-2.0
/** What each group of health checks looks at. Collecting is here and in `check-*.ts`; what a finding means is decided in model/. */
import process from "node:process";
import type { HealthCheck, HealthGroup } from "@debvisor/proto-events/node-agent";
import { toDvError } from "@debvisor/shared/errors";
import { isWritable } from "../drivers/file-systems.ts";
import { tryWriting } from "../drivers/host-files.ts";
import { lastJournalLines, showUnits } from "../drivers/systemd.ts";
import { binaryChecks } from "../model/binary-checks.ts";
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
import { checkConfiguration } from "./check-configuration.ts";
import { checkConnectivity } from "./check-connectivity.ts";
import { checkPermissions } from "./check-permissions.ts";
import { type GroupRunner, type HealthDeps, MAX_TEXT_BYTES, needsOf } from "./health-deps.ts";

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

async function checkFileSystem(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  const { config, host } = deps;
  const mounts = host.proc.mounts();
  const [{ rooms, silent }, fstab, stateFolder] = await Promise.all([
    host.ownRooms(),
    host.files.read("/etc/fstab", MAX_TEXT_BYTES),
    checkStateFolder(deps),
  ]);
  const required = config.requiredMounts.map(async (path) => {
    const mount = mounts.findLast((candidate) => candidate.mount === path);
    return mountCheck(path, mount, mount === undefined ? undefined : await isWritable(mount, signal));
  });
  const files = config.requiredFiles.map(async (path) => requiredFileCheck(path, await host.files.exists(path)));
  return [
    stateFolder,
    readOnlyCheck("text" in fstab ? turnedReadOnly(parseMounts(fstab.text), mounts) : []),
    ...silent.map(silentCheck),
    ...rooms.map((room) => inodeCheck(room, config)),
    ...(required.length > 0 ? await Promise.all(required) : [nothingRequired("mounts")]),
    ...(files.length > 0 ? await Promise.all(files) : [nothingRequired("files")]),
  ];
}

async function checkStateFolder({ node, noState }: HealthDeps): Promise<HealthCheck> {
  if (noState !== undefined) return findingsOf("file-system").skipped("state-folder", noState);
  return stateFolderCheck(node.stateDir, await tryWriting(node.stateDir));
}

async function checkResources({ config, host }: HealthDeps): Promise<HealthCheck[]> {
  const { rooms } = await host.ownRooms();
  const { proc, threads } = host;
  return resourceChecks({ fileSystems: rooms, memory: proc.memory(), load: proc.loadAverage(), threads }, config);
}
