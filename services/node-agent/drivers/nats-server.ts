// SPDX-License-Identifier: Apache-2.0
/** Where this node's nats-server is: the one configured, the one of NATS_SERVER, or one on PATH (checked with 2.15.1). */
import { which } from "@debvisor/shared/exec";

/** Absolute path of nats-server, however old it is; undefined when there is none. Never throws, never fetches. */
export async function locateNats(configured: string | undefined, cacheDir: string): Promise<string | undefined> {
  if (configured !== undefined) return await which(configured);
  // Loaded on demand: the locator brings the archive client along, which a node that is set up never needs.
  const { locateNatsServer } = await import("@debvisor/shared/nats-server/locate");
  try {
    const found = await locateNatsServer({ cacheDir, fetch: false, log: () => undefined });
    return found.path;
  } catch {
    // The locator refuses versions that are too old; the check wants to name them.
    return await which("nats-server");
  }
}
