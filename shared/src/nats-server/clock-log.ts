// SPDX-License-Identifier: Apache-2.0
/**
 * Looks through what nats-server writes for certificates that it refuses for their dates, and says in words what that means. Its own
 * message stands in a file that nobody reads while the server is merely without routes.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { type Clock, systemClock } from "../clock.ts";
import type { Logger } from "../log.ts";

/** Most that is read at a look; what came before in a flood says the same. */
const MOST_BYTES = 65_536;
const TELL_EVERY_MS = 3_600_000;
/** Nodes that are remembered as told of. */
const MOST_NODES = 64;
const REFUSED =
  /handshake error: [^\n]*certificate has expired or is not yet valid: current time (\S+) is (before|after) (\S+) \(CN=([a-z2-7]{16})\b/g;

/** Begins at the end of the file as it is now. `look` may be called at any time. */
export function clockLog(file: string, log: Logger, clock: Clock = systemClock): { look(): void } {
  let read = sizeOf(file);
  const told = new Map<string, number>();
  return {
    look: () => {
      const size = sizeOf(file);
      const text = size > read ? textOf(file, Math.max(read, size - MOST_BYTES), size) : "";
      read = size;
      for (const [, now = "", side = "", limit = "", node = ""] of text.matchAll(REFUSED)) {
        const at = clock.monotonic();
        if (at - (told.get(node) ?? Number.NEGATIVE_INFINITY) < TELL_EVERY_MS) continue;
        if (told.size >= MOST_NODES) told.clear();
        told.set(node, at);
        log.error(
          { node },
          `nats-server refuses the certificate of node ${node}: it ${side === "before" ? "begins at" : "ended at"} ${limit}, and by this ` +
            `machine's clock it is ${now}. The clock here or there is wrong, or that node has not renewed it.`,
        );
      }
    },
  };
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function textOf(file: string, from: number, to: number): string {
  const handle = openSync(file, "r");
  try {
    const bytes = Buffer.alloc(to - from);
    return bytes.toString("utf8", 0, readSync(handle, bytes, 0, bytes.length, from));
  } finally {
    closeSync(handle);
  }
}
