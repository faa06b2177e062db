// SPDX-License-Identifier: Apache-2.0
/**
 * Archive files of the sealed trail, on each server for itself: `archive/<generation>-<from>-<to>.jsonl` in the export format, each
 * ending with a checkpoint. A file gets its name once it was synced, read back and verified; the next one begins after it.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { headerLine, mergeLines, readLines } from "@debvisor/shared/audit/trail-file";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain, DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { AuditConfig } from "../config.ts";
import { GENERATION } from "../model/generation.ts";
import type { Alarms } from "./alarms.ts";
import { type ExportDeps, exportHeader } from "./export-header.ts";
import type { Seals } from "./seals.ts";

const PAGE = 500;
const FILE = /^(\d+)-(\d+)-(\d+)\.jsonl$/;

/** What is in the folder. */
export class Archive {
  readonly dir: string;
  /** Last record of the last file; 0 before the first. */
  end = 0;
  /** Why the last attempt failed. */
  fault: string | undefined;

  constructor(stateDir: string) {
    this.dir = join(stateDir, "archive");
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    const files = readdirSync(this.dir).map((name) => FILE.exec(name));
    const spans = files.flatMap((file) => (file ? [[Number(file[1]), Number(file[2]), Number(file[3])] as const] : []));
    for (const [generation, from, to] of spans.sort((a, b) => a[1] - b[1])) {
      if (generation === GENERATION && from === this.end + 1) this.end = to;
    }
  }
}

export interface ArchiveDeps extends ExportDeps {
  readonly archive: Archive;
  readonly seals: Seals;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly log: Logger;
  readonly config: Pick<AuditConfig, "archiveEveryRecords" | "checkEveryMs">;
}

/** Starts writing files as the trail is sealed. */
export function startArchive(deps: ArchiveDeps): Closable {
  const { archive, alarms, clock, log, config } = deps;
  const stopping = new AbortController();
  const run = (async () => {
    while (!stopping.signal.aborted) {
      const to = endOfNext(deps);
      try {
        if (to !== undefined && !alarms.stopCause) await writeNext(deps, to, stopping.signal);
      } catch (error) {
        archive.fault = causeChain(error, 2);
        log.error({ error: archive.fault }, "audit: an archive file could not be written");
        await clock.sleep(60_000, stopping.signal);
      }
      await clock.sleep(config.checkEveryMs, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await Promise.race([run, clock.sleep(1_000)]);
    },
  };
}

/** Size of the first checkpoint that completes a file; undefined while there is none. */
function endOfNext({ archive, seals, trail, config }: ArchiveDeps): number | undefined {
  const places = seals.placesBetween(archive.end + config.archiveEveryRecords, trail.size);
  return places.length === 0 ? undefined : Math.min(...places.map(({ size }) => size));
}

/** @throws DATA_FOLDER_CORRUPT when what was written does not verify, UNAVAILABLE, what the file system throws */
async function writeNext(deps: ArchiveDeps, to: number, signal: AbortSignal): Promise<void> {
  const { archive, anchor, log } = deps;
  const from = archive.end + 1;
  const draft = join(archive.dir, "next.tmp");
  const file = join(archive.dir, `${GENERATION}-${from}-${to}.jsonl`);
  await writeLines(deps, draft, from, to, signal);
  if (signal.aborted) return;
  const report = await verifyTrail(paced(readLines(draft)), { operator: anchor.operator });
  if (!report.ok || report.records !== to - from + 1 || report.sealedUpTo !== to) {
    await rm(draft, { force: true });
    const why = report.findings[0]?.detail ?? `it is sealed up to ${report.sealedUpTo}`;
    throw new DvError("DATA_FOLDER_CORRUPT", `The archive of records ${from} to ${to} does not verify: ${why}.`);
  }
  await rename(draft, file);
  await syncFolder(archive.dir);
  archive.end = to;
  archive.fault = undefined;
  log.info({ file, records: report.records }, "audit: archived");
}

async function writeLines(deps: ArchiveDeps, path: string, from: number, to: number, signal: AbortSignal) {
  const { trail, seals } = deps;
  const places = seals.placesBetween(from, to);
  const handle = await open(path, "w", 0o600);
  try {
    await handle.write(`${headerLine({ ...exportHeader(deps, from), to })}\n`);
    for (let at = from; at <= to && !signal.aborted; at += PAGE) {
      const last = Math.min(to, at + PAGE - 1);
      const checkpoints = await seals.lines(places.filter(({ size }) => size >= at && size <= last));
      const lines = mergeLines(at, await trail.lines(at, last), checkpoints);
      await handle.write(`${lines.join("\n")}\n`);
      await turn();
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Lets other work have its turn while many lines are verified. */
async function* paced(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let count = 0;
  for await (const line of lines) {
    if (++count % PAGE === 0) await turn();
    yield line;
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
