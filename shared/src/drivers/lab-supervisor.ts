// SPDX-License-Identifier: Apache-2.0
/**
 * What a node of the local cluster answers about its own services, on a Unix socket in its folder: the part that systemd
 * plays on a real node. One JSON line in, one out. The node's process serves it, the node agent asks.
 */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WireError } from "@debvisor/proto-events/replies";
import { z } from "zod";
import { DvError } from "../errors.ts";

/** Longest path of a Unix socket is 107 bytes; a folder that is too deep gets its socket in the temporary folder. */
const LONGEST_PATH = 100;

/** A service as its supervisor sees it. `starting` until it has said that it answers. */
export const SupervisedUnit = z.object({
  name: z.string(),
  state: z.enum(["running", "starting", "stopped", "failed"]),
  invocation: z.string().nullable(),
  startedAt: z.string().nullable(),
});
export type SupervisedUnit = z.output<typeof SupervisedUnit>;

/** What can be asked. */
export const SupervisorRequest = z.discriminatedUnion("command", [
  z.strictObject({ command: z.literal("boot") }),
  /** Answered as soon as the service has been told to end. */
  z.strictObject({ command: z.literal("restart"), unit: z.string().max(200) }),
  /** Answered before the node ends. */
  z.strictObject({ command: z.literal("reboot") }),
]);
export type SupervisorRequest = z.output<typeof SupervisorRequest>;

/** The node since it was started. Every answer is this. */
export const SupervisorState = z.object({
  bootId: z.string(),
  startedAt: z.string(),
  /** Whether somebody starts it again when it ends. */
  rebootable: z.boolean(),
  units: z.array(SupervisedUnit),
});
export type SupervisorState = z.output<typeof SupervisorState>;

/** An answer: what was asked for, or a code of the catalogue with its message. */
export const SupervisorReply = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), data: SupervisorState }),
  z.object({ ok: z.literal(false), error: WireError }),
]);

/** Path of a node's supervisor socket. @throws UNAVAILABLE as `socketPathIn` */
export function supervisorSocket(nodeDir: string): string {
  return socketPathIn(nodeDir, "supervisor.sock");
}

/**
 * Where a socket of a folder is: in it, or where its path would be too long, in a folder of this user below the temporary one.
 * @throws UNAVAILABLE when that folder belongs to somebody else, who could answer in our place
 */
export function socketPathIn(dir: string, name: string): string {
  const beside = join(dir, name);
  if (Buffer.byteLength(beside) <= LONGEST_PATH) return beside;
  const folder = join(tmpdir(), `debvisor-${createHash("sha256").update(dir).digest("hex").slice(0, 16)}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const info = lstatSync(folder);
  if (!info.isDirectory() || info.uid !== process.getuid?.() || (info.mode & 0o077) !== 0)
    throw new DvError("UNAVAILABLE", `${folder} is not a private folder of this user; remove it.`);
  return join(folder, name);
}
