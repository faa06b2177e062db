// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the groups of streams that hold no election because this server does not count itself a member (ADR-0022, nats-server 2.15.1).
 * The last entry of their log makes this server a member, and it never learned that the entry counts: a later entry would have said so.
 * Whoever is no member never asks for votes, not even where it is alone.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { readJsonFile } from "../node-files.ts";
import type { NatsServerSettings } from "./config.ts";
import { peerIdOf, type RaftGroup, raftGroups } from "./process.ts";

/** A record with one entry that names one server: head, place in the log, entry, checksum. */
const RECORD_BYTES = 86;
const SEQUENCE_AT = 4;
const COMMIT_AT = 38;
const BEFORE_AT = 54;
const ENTRIES_AT = 62;
const SIZE_AT = 64;
const TYPE_AT = 68;
const PEER_AT = 69;
const ADD_PEER = 3;
const PEER_BYTES = 8;

/** Only what is looked at; the file holds the configuration of the log's store. */
const GroupFile = z.object({ metadata: z.object({ type: z.string(), stream: z.string() }) });

/** A group that will never have a leader. */
export interface StuckGroup {
  readonly stream: string;
  /** Folder of its log. */
  readonly folder: string;
}

/**
 * All groups without a leader of a server that is the only member of each; undefined unless every one of them is in exactly that state,
 * and thus has nothing in its log that its stream does not have.
 */
export async function stuckGroups(
  settings: Pick<NatsServerSettings, "monitorPort" | "serverName" | "storeDir" | "trust">,
): Promise<StuckGroup[] | undefined> {
  const unled = (await raftGroups(settings))?.filter(({ isLed }) => !isLed);
  if (!unled) return undefined;
  const found: StuckGroup[] = [];
  for (const group of unled) {
    const folder = join(settings.storeDir, "jetstream", settings.trust.systemAccount, "_js_", group.name);
    const isSure = isStuck(group, lastRecord(folder), peerIdOf(settings.serverName));
    const stream = isSure ? streamOf(folder) : undefined;
    if (stream === undefined) return undefined;
    found.push({ stream, folder });
  }
  return found;
}

/**
 * Takes the logs of groups out of the store of a stopped server: at its next start the groups begin anew, over what their streams have.
 * Renamed, not removed, so that a power cut leaves a folder whole or gone.
 */
export function discardGroups(storeDir: string, groups: readonly StuckGroup[]): void {
  const discarded = `${storeDir}-discarded`;
  rmSync(discarded, { recursive: true, force: true });
  mkdirSync(discarded, { mode: 0o700 });
  for (const { folder } of groups) renameSync(folder, join(discarded, basename(folder)));
  rmSync(discarded, { recursive: true });
}

/** Whether a group is in that state: `record` is the end of its log, `peer` this server's id in it. Exported for tests. */
export function isStuck(group: RaftGroup, record: Buffer, peer: string): boolean {
  const { state, size, isLed, wasLed, committed, applied, last } = group;
  const isIdle = state === "FOLLOWER" && size === 1 && !isLed && !wasLed;
  return (
    isIdle &&
    committed === last - 1 &&
    applied === committed &&
    record.length === RECORD_BYTES &&
    record.readUInt32LE(0) === RECORD_BYTES &&
    record.readBigUInt64LE(SEQUENCE_AT) === BigInt(last) &&
    record.readBigUInt64LE(COMMIT_AT) === BigInt(last - 1) &&
    record.readBigUInt64LE(BEFORE_AT) === BigInt(last - 1) &&
    record.readUInt16LE(ENTRIES_AT) === 1 &&
    record.readUInt32LE(SIZE_AT) === PEER_BYTES + 1 &&
    record[TYPE_AT] === ADD_PEER &&
    record.toString("latin1", PEER_AT, PEER_AT + PEER_BYTES) === peer
  );
}

/** The end of a group's log; empty when the log is in several files, of which it is not known here which is the last. */
function lastRecord(folder: string): Buffer {
  const dir = join(folder, "msgs");
  const [file, ...others] = existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".blk")) : [];
  if (file === undefined || others.length > 0) return Buffer.alloc(0);
  return readFileSync(join(dir, file)).subarray(-RECORD_BYTES);
}

function streamOf(folder: string): string | undefined {
  const { metadata } = readJsonFile(join(folder, "meta.inf"), GroupFile);
  return metadata.type === "stream" ? metadata.stream : undefined;
}
