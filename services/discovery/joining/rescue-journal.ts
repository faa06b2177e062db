// SPDX-License-Identifier: Apache-2.0
/**
 * What a rescue has decided and how far it is, on disk: without a majority nothing can be written anywhere else. Everything random is
 * drawn once, so that a rescue that was killed goes on as the same one.
 */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Member } from "@debvisor/proto-events/membership";
import { Actor, NodeId, Reason, Timestamp } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import { json, nodePaths, readJsonFileIfPresent, writePrivateFile } from "@debvisor/shared/node-files";
import { z } from "zod";

/** The steps of a rescue, in order. Each can be done again at any time. */
export const RESCUE_STEPS = ["copy", "group", "streams", "intent", "members", "files", "record"] as const;
export type RescueStep = (typeof RESCUE_STEPS)[number];

/** What is kept of a rescue. Holds a secret: the new password between servers. */
export const RescueJournal = z.strictObject({
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  cluster: z.string(),
  node: NodeId,
  actor: Actor,
  reason: Reason,
  at: Timestamp,
  /** The servers that were declared off, as the membership had them. */
  off: z.array(Member).min(1),
  formation: z.strictObject({ before: z.string(), after: z.string() }),
  routePassword: z.string().min(32),
  done: z.array(z.enum(RESCUE_STEPS)),
});
export type RescueJournal = z.output<typeof RescueJournal>;

/** A rescue that was begun and has not ended. @throws DATA_FOLDER_CORRUPT */
export function readJournal(dir: string): RescueJournal | undefined {
  return readJsonFileIfPresent(nodePaths(dir).rescue, RescueJournal);
}

/** On stable storage when it returns. */
export function writeJournal(dir: string, journal: RescueJournal): void {
  writePrivateFile(nodePaths(dir).rescue, json(journal));
}

/** Folder with the server's data as it was before. */
export function copyOf(dir: string, { id }: Pick<RescueJournal, "id">): string {
  return join(dir, `nats-before-rescue-${id.slice(0, 8)}`);
}

/**
 * Lets one rescue at a time work on a folder. The lock of a killed one does not count. @returns what gives it back
 * @throws CONFLICT
 */
export function lockRescue(dir: string): () => void {
  const file = `${nodePaths(dir).rescue}.lock`;
  for (let tries = 0; ; tries++) {
    try {
      const fd = openSync(file, "wx", 0o600);
      writeSync(fd, holderOf(process.pid));
      closeSync(fd);
      return () => rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const holder = readFileSync(file, "utf8");
      const pid = Number(holder.split(" ")[0]);
      if (tries > 0 || (pid > 0 && holderOf(pid) === holder))
        throw new DvError("CONFLICT", `Another rescue of this machine runs (${pid}).`);
      rmSync(file, { force: true });
    }
  }
}

/* A process id comes again; with the time of the start it does not. */
function holderOf(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return `${pid} ${fields[19]}`;
  } catch {
    return `${pid} ended`;
  }
}
