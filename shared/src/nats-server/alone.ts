// SPDX-License-Identifier: Apache-2.0
/** How the first server becomes a cluster of one: with a helper that votes for it and is then removed from the group. */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { connectSystem } from "../bus/system.ts";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { SystemAccess } from "./accounts.ts";
import { metaGroup, type NatsProcess } from "./process.ts";

/** Longest time for the first server to become a cluster of one, once somebody leads. Measured: 0.6 s. */
const FORMATION_LIMIT_MS = 20_000;
/** Folder of an account in the store, once it has a stream. */
const STREAMS = "streams";

/**
 * Removes the helper from the group of servers while it is online, which leaves a group of one.
 * @param electionMs how long nobody may lead
 * @returns false when nobody led for so long: the votes were lost, and the next election is seconds away
 * @throws NATS_SERVER_FAILED
 */
export async function becomeClusterOfOne(
  server: NatsProcess,
  helperName: string,
  { servers, credential, tls }: SystemAccess,
  electionMs: number,
): Promise<boolean> {
  const { serverName } = server.settings;
  const startedAt = systemClock.monotonic();
  const passed = () => systemClock.monotonic() - startedAt;
  const system = await connectSystem(servers, credential, FORMATION_LIMIT_MS, tls);
  let led = false;
  try {
    for (;;) {
      const meta = await metaGroup(server.settings);
      if (meta?.leader === serverName && meta.size === 1) return true;
      led ||= Boolean(meta?.leader);
      if (meta?.leader === serverName) await system.askRemoval(helperName);
      else if (meta?.leader) await system.stepDown(serverName);
      else if (!led && passed() > electionMs && isUnused(server.settings.storeDir)) return false;
      if (server.hasEnded || passed() > FORMATION_LIMIT_MS)
        throw new DvError("NATS_SERVER_FAILED", `The bus did not become a cluster of one: ${server.logTail()}`);
      await systemClock.sleep(30);
    }
  } finally {
    await system.close();
  }
}

/** True when there is no stream in the store, and so nothing that was acknowledged. */
export function isUnused(storeDir: string): boolean {
  const store = join(storeDir, "jetstream");
  return !existsSync(store) || readdirSync(store).every((account) => !existsSync(join(store, account, STREAMS)));
}

/** Removes what is in the store. The folder itself may be a mount point, or a link to another disk. */
export function emptyStore(storeDir: string): void {
  if (!existsSync(storeDir)) return;
  for (const entry of readdirSync(storeDir)) {
    // Every file system has that one for what it finds damaged.
    if (entry !== "lost+found") rmSync(join(storeDir, entry), { recursive: true });
  }
}
