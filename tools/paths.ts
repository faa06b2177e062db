// SPDX-License-Identifier: Apache-2.0
/** Where things are in this repository, for the scripts in tools/. */
import path from "node:path";

/** The top of the repository. */
export const ROOT = path.resolve(import.meta.dirname, "..");

/** Folder of the fetched nats-server; git ignores it. */
export const NATS_CACHE_DIR = path.join(ROOT, ".cache", "nats");
