// SPDX-License-Identifier: Apache-2.0
/** The group `configuration`: files of settings, preseed and inventory parse and satisfy their schema. */

import { join } from "node:path";
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { Preseed } from "@debvisor/shared/join/preseed";
import type { z } from "zod";
import { nodeAgentConfig } from "../config.ts";
import { CHECKED_SUFFIX, findFault } from "../drivers/config-files.ts";
import { createHostFiles, type HostFiles } from "../drivers/host-files.ts";
import { type ConfigReading, configurationChecks } from "../model/file-checks.ts";
import { findingsOf } from "../model/findings.ts";
import { inventoryFile } from "../model/inventory.ts";
import { CONFIG_FOLDER, type HealthDeps, MAX_TEXT_BYTES } from "./health-deps.ts";

/** Schemas that this service knows, by file name. Those of other services are theirs: of their files the syntax is checked. */
const SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  "node-agent.yaml": nodeAgentConfig,
  "preseed.yaml": Preseed,
  "inventory.yaml": inventoryFile,
};

/** Runs the group. */
export async function checkConfiguration(deps: HealthDeps): Promise<HealthCheck[]> {
  const { config, host } = deps;
  const names = (await host.files.list(CONFIG_FOLDER)) ?? [];
  const paths = [...names.map((name) => `${CONFIG_FOLDER}/${name}`), ...config.requiredFiles];
  const checked = [...new Set(paths)].filter((path) => CHECKED_SUFFIX.test(path));
  const readings = await Promise.all(checked.map((path) => readConfiguration(host.files, path, path)));
  return [...configurationChecks([...readings, ...(await readLabSettings(deps))]), ...absent(names)];
}

/* A node of the local cluster reads its settings from `etc` in its folder instead (DESIGN.md 8a). */
async function readLabSettings({ host, node, noState }: HealthDeps): Promise<ConfigReading[]> {
  if (!host.isLab || noState !== undefined) return [];
  const folder = join(node.stateDir, "../../etc");
  const files = createHostFiles(folder);
  const names = ((await files.list("/")) ?? []).filter((name) => CHECKED_SUFFIX.test(name));
  return await Promise.all(names.map((name) => readConfiguration(files, `/${name}`, join(folder, name))));
}

function absent(names: readonly string[]): HealthCheck[] {
  const { skipped } = findingsOf("configuration");
  const meanings = {
    "preseed.yaml": "this machine is set up by no preseed",
    "inventory.yaml": "no host is named in advance",
  };
  return Object.entries(meanings)
    .filter(([name]) => !names.includes(name))
    .map(([name, meaning]) => skipped(name.replace(".yaml", ""), `There is no ${CONFIG_FOLDER}/${name}: ${meaning}.`));
}

async function readConfiguration(files: HostFiles, path: string, shown: string): Promise<ConfigReading> {
  const reading = await files.read(path, MAX_TEXT_BYTES);
  if ("reason" in reading) return { path: shown, outcome: "unreadable", reason: reading.reason };
  const fault = await findFault(path, reading.text, SCHEMAS[path.slice(path.lastIndexOf("/") + 1)]);
  return fault === undefined ? { path: shown, outcome: "valid" } : { path: shown, outcome: "faulty", fault };
}
