// SPDX-License-Identifier: Apache-2.0
/**
 * Throws away what a server has of some streams, so that it gets them anew from the others. nats-server 2.15.1 has no request for
 * that in a group of three: it refuses to take a replica from a server without another one to put it on ("peer remap failed"). So
 * the server is stopped, the folders go, and it starts again (RULES.md F8). What was acknowledged by this server and one other only
 * must have reached the third one before: that is looked at while it is stopped, when nothing can be acknowledged by it any more.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { assetNames } from "../bus/admin.ts";
import type { ReplicaLook } from "../bus/replica-look.ts";
import { connectSystem } from "../bus/system.ts";
import { systemClock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { json, readJsonFileIfPresent, writePrivateFile } from "../node-files.ts";
import type { BusMember } from "./member.ts";

/** What discovery writes for whoever runs the server. */
export const RebuildRequest = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{32}$/),
  streams: z.array(z.enum(assetNames() as [string, ...string[]])).min(1),
});
export type RebuildRequest = z.output<typeof RebuildRequest>;

/** What came of it. */
export const RebuildAnswer = z.strictObject({
  id: z.string(),
  outcome: z.enum(["done", "refused"]),
  /** Why it was refused; empty when done. */
  why: z.string(),
});
export type RebuildAnswer = z.output<typeof RebuildAnswer>;

const CONNECT_MS = 3_000;
const LOOK_MS = 1_000;
/** The two others need this long to be equal; then the server starts again with what it had. */
const EQUAL_MS = 10_000;
const PAUSE_MS = 100;
/** Copies besides the one that goes. */
const COPIES = 2;

/** Does what is asked, once; its answer is written when the server is healthy again. */
export async function rebuildAsAsked(
  files: { readonly asked: string; readonly answer: string },
  member: BusMember,
  log: Logger,
): Promise<void> {
  const asked = readJsonFileIfPresent(files.asked, RebuildRequest);
  if (!asked || readJsonFileIfPresent(files.answer, RebuildAnswer)?.id === asked.id) return;
  const { id, streams } = asked;
  let answer: RebuildAnswer = { id, outcome: "done", why: "" };
  try {
    await rebuildStreams(member, streams);
    log.warn({ id, streams }, "replicas were thrown away; they come anew from the other servers");
  } catch (error) {
    answer = { id, outcome: "refused", why: toDvError(error).message };
    log.error({ id, streams, why: answer.why }, "replicas are not rebuilt");
  }
  writePrivateFile(files.answer, json(answer));
}

/**
 * Rebuilds a server's replicas of streams from its peers. Every other server has to be well, and two of them have to hold each
 * stream whole. @throws UNAVAILABLE when they are not: nothing was thrown away then; NATS_SERVER_FAILED when the server does not come back
 */
export async function rebuildStreams(member: BusMember, streams: readonly string[]): Promise<void> {
  const { storeDir } = member.settings;
  await equalOthers(member, streams, 0);
  const discarded = `${storeDir}-discarded`;
  const discardAll = async () => {
    const groups = await equalOthers(member, streams, EQUAL_MS);
    // Of a rebuild that a power cut ended.
    rmSync(discarded, { recursive: true, force: true });
    mkdirSync(discarded, { recursive: true, mode: 0o700 });
    streams.forEach((stream, index) => void discard(storeDir, discarded, stream, groups.get(stream), index));
  };
  const fault = await member.whileStopped(() => discardAll().then(() => undefined, toDvError));
  rmSync(discarded, { recursive: true, force: true });
  if (fault) throw fault;
}

/** Waits until the others are equal; returns the raft group of each stream. @throws UNAVAILABLE */
async function equalOthers(
  member: BusMember,
  streams: readonly string[],
  patienceMs: number,
): Promise<Map<string, string>> {
  const { servers, credential, tls } = member.others;
  if (servers.length === 0) throw new DvError("UNAVAILABLE", "There is no other server that has the streams.");
  const self = member.settings.serverName;
  const deadline = systemClock.monotonic() + patienceMs;
  const system = await connectSystem(servers, credential, CONNECT_MS, tls).catch((error: unknown) => {
    throw new DvError("UNAVAILABLE", "No other server answers.", { cause: error });
  });
  try {
    for (;;) {
      const before = await system.replicas(LOOK_MS);
      await systemClock.sleep(PAUSE_MS);
      const now = await system.replicas(LOOK_MS);
      const fault = faultOfOthers(before, now, streams, self);
      if (fault === undefined) return groupsOf(now, streams);
      if (systemClock.monotonic() >= deadline) throw new DvError("UNAVAILABLE", `${fault}.`);
    }
  } finally {
    await system.close();
  }
}

/** Why the others cannot stand in for a server; undefined when they can. Exported for tests. */
export function faultOfOthers(
  before: ReplicaLook,
  now: ReplicaLook,
  streams: readonly string[],
  self: string,
): string | undefined {
  if (now.servers.length === 0) return "The group of servers has no leader";
  for (const server of now.servers.filter((name) => name !== self)) {
    if (!now.answered.has(server)) return `The server ${server} does not answer`;
    const why = now.answered.get(server);
    // With this one stopped the others may say that a group lacks a member, but not that they lack something.
    if (why !== undefined && now.answered.has(self)) return `The server ${server} is not well: ${why}`;
  }
  for (const stream of streams) {
    const of = (look: ReplicaLook) => look.replicas.filter((one) => one.stream === stream && one.server !== self);
    const others = of(now);
    if (others.length < COPIES) return `Only ${others.length} other servers have ${stream}`;
    const wanted = Math.max(...of(before).map(({ last }) => last));
    const behind = others.find(({ last }) => last < wanted);
    if (behind) return `The replica of ${stream} on ${behind.server} is behind`;
    const leader = others.find((one) => one.leader === one.server);
    if (!leader && !now.answered.has(self)) return `Nobody leads ${stream}`;
  }
  return undefined;
}

function groupsOf({ replicas }: ReplicaLook, streams: readonly string[]): Map<string, string> {
  const found = replicas.flatMap(({ stream, group }) =>
    streams.includes(stream) && group !== undefined && /^S-R\d+F-[A-Za-z0-9]+$/.test(group)
      ? [[stream, group] as const]
      : [],
  );
  return new Map(found);
}

/**
 * Moves a stream's folders out of the store, the log of its group first: of the stream alone, the log would be played onto nothing.
 * Renamed, not removed, so that a power cut leaves a folder whole or gone.
 */
function discard(store: string, discarded: string, stream: string, group: string | undefined, index: number): void {
  if (group === undefined) throw new DvError("UNAVAILABLE", `Nobody knows the group of ${stream}.`);
  const accounts = readdirSync(join(store, "jetstream"));
  const places = [
    ...accounts.map((account) => join(store, "jetstream", account, "_js_", group)),
    ...accounts.map((account) => join(store, "jetstream", account, "streams", stream)),
  ].filter((place) => existsSync(place));
  for (const [number, place] of places.entries()) renameSync(place, join(discarded, `${index}-${number}`));
}
