// SPDX-License-Identifier: Apache-2.0
/** The group `permissions`: the user, what sudo grants it, owner and mode of our files. */
import { join } from "node:path";
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { describe, walk } from "../drivers/host-files.ts";
import { readSudoRights } from "../drivers/sudo.ts";
import { type FileEntry, ownFilesCheck } from "../model/file-checks.ts";
import { findingsOf } from "../model/findings.ts";
import { privilegedNeeds, sudoCheck, userCheck } from "../model/rights-checks.ts";
import { CONFIG_FOLDER, type HealthDeps, needsOf } from "./health-deps.ts";

/** How deep and how far our own folders are looked through. */
const DEPTH = 2;
const LIMIT = 500;
/** What of a node's folder is its own; state and the server's files have checks of their own, or their own owners. */
const NODE_FILES = ["node.json", "identity.pem", "membership.json", "credentials"];

/** Runs the group. */
export async function checkPermissions(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck[]> {
  const { host } = deps;
  return await Promise.all([
    Promise.resolve(userCheck(host.uid, needsOf(deps))),
    checkSudo(deps, signal),
    checkState(deps),
    checkNodeFiles(deps),
    checkConfigFiles(deps),
  ]);
}

/*
 * sudo is asked only where somebody waits for the answer or a tool needs it: a refusal is logged by sudo each time, and the
 * watch over health runs every minute.
 */
async function checkSudo(deps: HealthDeps, signal: AbortSignal): Promise<HealthCheck> {
  const { host, bus } = deps;
  const needs = privilegedNeeds(needsOf(deps));
  const asks = host.uid !== 0 && !host.isLab && (needs.length > 0 || bus === undefined);
  return sudoCheck({ uid: host.uid, needs, rights: asks ? await readSudoRights(signal) : undefined });
}

async function checkState(deps: HealthDeps): Promise<HealthCheck> {
  const { node, noState } = deps;
  if (noState !== undefined) return findingsOf("permissions").skipped("state-files", noState);
  const entries = await walk(node.stateDir, DEPTH, LIMIT);
  return ownFilesCheck("state-files", node.stateDir, entries, ownerOf(deps, entries));
}

/* The folder of a node holds `state/<service>` (shared/src/node-files.ts), so it is two levels up. */
async function checkNodeFiles(deps: HealthDeps): Promise<HealthCheck> {
  const { node, noState } = deps;
  const { skipped } = findingsOf("permissions");
  if (noState !== undefined) return skipped("node-files", noState);
  const folder = join(node.stateDir, "../..");
  const lists = await Promise.all(NODE_FILES.map((name) => walk(join(folder, name), DEPTH, LIMIT)));
  const entries = lists.flatMap((list) => list ?? []);
  if (entries.length === 0) return skipped("node-files", `${folder} holds no files of a node.`);
  return ownFilesCheck("node-files", folder, entries, ownerOf(deps, [await describe(folder)]));
}

async function checkConfigFiles(deps: HealthDeps): Promise<HealthCheck> {
  const { host } = deps;
  const actual = await host.files.resolve(CONFIG_FOLDER);
  const entries = actual === undefined ? undefined : await walk(actual, DEPTH, LIMIT);
  if (actual === undefined || entries === undefined) {
    return findingsOf("permissions").skipped(
      "config-files",
      `${CONFIG_FOLDER} does not exist or is closed to this user.`,
    );
  }
  return ownFilesCheck("config-files", actual, entries, ownerOf(deps, entries));
}

/* A service's files are its own. Root who looks at a machine expects those of the user that owns the folder. */
function ownerOf({ host, bus }: HealthDeps, [folder]: readonly (FileEntry | undefined)[] = []): number {
  return bus === undefined && host.uid === 0 ? (folder?.uid ?? 0) : host.uid;
}
