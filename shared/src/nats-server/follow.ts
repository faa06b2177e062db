// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps a running bus member in step with its node's files, whoever writes them: the membership for the server's next start, the
 * certificates at once, and what discovery asks to have rebuilt. What the server writes of wrong clocks is passed on. Files are watched and, because a watch can miss something, looked at every few seconds.
 */
import { createHash } from "node:crypto";
import { type FSWatcher, readFileSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import { systemClock } from "../clock.ts";
import { toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { nodePaths, readMembership } from "../node-files.ts";
import { clockLog } from "./clock-log.ts";
import type { BusMember } from "./member.ts";
import { serverChanges } from "./member-from-files.ts";
import { rebuildAsAsked } from "./rebuild.ts";

const LOOK_MS = 5_000;
/** Certificate and key are two files; a change of both is one change. */
const SETTLE_MS = 100;

/** Follows the files until stopped. */
export function followFiles(dir: string, member: BusMember, log: Logger): { stop(): void } {
  const { tls, membership, rebuild } = nodePaths(dir);
  const clocks = clockLog(join(nodePaths(dir).nats, "nats-server.log"), log);
  const ended = new AbortController();
  let certificates = digest(Object.values(tls));
  let wake = Promise.withResolvers<void>();
  const look = async (): Promise<void> => {
    clocks.look();
    const { server, busServers } = readMembership(dir) ?? {};
    if (server && busServers) member.adopt(serverChanges(server, busServers));
    const now = digest(Object.values(tls));
    if (now !== certificates) {
      await member.takeUpCertificates();
      certificates = now;
      log.info("the server shows its new certificate");
    }
    await rebuildAsAsked(rebuild, member, log);
  };
  const follow = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      await Promise.race([wake.promise, systemClock.sleep(LOOK_MS, ended.signal)]);
      await systemClock.sleep(SETTLE_MS, ended.signal);
      wake = Promise.withResolvers<void>();
      if (ended.signal.aborted) return;
      await look().catch((error: unknown) => {
        const { code, message } = toDvError(error);
        log.warn({ code }, `a change of the node's files was not taken up yet: ${message}`);
      });
    }
  };
  const watchers = [membership, ...Object.values(tls), rebuild.asked].flatMap((file) =>
    watcher(file, () => wake.resolve()),
  );
  void follow();
  return {
    stop: () => {
      ended.abort();
      for (const each of watchers) each.close();
    },
  };
}

/** Watches the folder of a file; the other files in it say nothing here. */
function watcher(file: string, changed: () => void): FSWatcher[] {
  try {
    const made = watch(dirname(file), (_event, name) => void (name === basename(file) && changed()));
    // A folder that is removed later is still looked at.
    made.on("error", () => made.close());
    return [made];
  } catch {
    return [];
  }
}

/** Changes whenever the content of any of the files does. */
function digest(files: readonly string[]): string {
  const hash = createHash("sha256");
  for (const file of files) {
    try {
      hash.update(readFileSync(file));
    } catch {
      hash.update(`missing: ${file}`);
    }
  }
  return hash.digest("hex");
}
