// SPDX-License-Identifier: Apache-2.0
/** The version of this source tree, read from the root package.json, so that it stands in one place. */
import { readFileSync } from "node:fs";

/** Semantic version of the whole repository; all its parts are released together. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;
