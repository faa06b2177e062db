// SPDX-License-Identifier: Apache-2.0
/** `--wait TIME`: looking again until something holds, with a word about the time left now and then (REQUIREMENTS X-21). */
import { DvError } from "@debvisor/shared/errors";
import { formatDuration, parseDuration } from "@debvisor/shared/units";
import { waitFor } from "@debvisor/shared/wait";
import { z } from "zod";
import { type Call, EXIT } from "./command.ts";

const INTERVAL_MS = 500;
/** Time between two messages about the time left. */
const TELL_MS = 5_000;

/** The field of a command that can wait. `until` ends the sentence "Wait until …". */
export function waitField(until: string) {
  return z
    .string()
    .refine((text) => parseDuration(text) !== undefined, "a time such as 30 (seconds), 500ms or 2m")
    .optional()
    .describe(`Wait until ${until}, at most this long: 30 (seconds), 500ms, 2m.`);
}

/** The time that was given; undefined without `--wait`. */
export function waitMs(input: Call["input"]): number | undefined {
  return typeof input["wait"] === "string" ? parseDuration(input["wait"]) : undefined;
}

/** One look: what was found, or why it is not there yet. */
export type Look<T> = { readonly found: T } | { readonly still: string };

/**
 * Looks until something is found. A gateway that does not answer counts as "not yet", because what is waited for may bring
 * it. Returns the last reason when the time ran out. @throws what can not pass by itself
 */
export async function lookUntil<T>(
  what: string,
  timeoutMs: number,
  look: () => Promise<Look<T>>,
  { output, signal }: Pick<Call, "output" | "signal">,
): Promise<Look<T>> {
  let last = "";
  let toldAtMs = Number.POSITIVE_INFINITY;
  const condition = async (): Promise<{ found: T } | undefined> => {
    const seen = await look().catch((error: unknown) => notYet(error, signal));
    if ("found" in seen) return seen;
    last = seen.still;
    return undefined;
  };
  const onWait = (leftMs: number) => {
    if (toldAtMs - leftMs < TELL_MS) return;
    toldAtMs = leftMs;
    output.info(`waiting for ${what}: ${last}; ${formatDuration(leftMs)} left`);
  };
  try {
    return await waitFor(condition, { what, timeoutMs, intervalMs: INTERVAL_MS, onWait, signal });
  } catch (error) {
    if (error instanceof DvError && error.code === "TIMEOUT" && error.details?.["timeoutMs"] === timeoutMs) {
      return { still: last };
    }
    throw error;
  }
}

function notYet(error: unknown, signal: AbortSignal): { still: string } {
  if (signal.aborted || !(error instanceof DvError) || error.exitCode !== EXIT.unavailable) throw error;
  return { still: error.message };
}
