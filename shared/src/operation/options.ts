// SPDX-License-Identifier: Apache-2.0
/** Reads the times among an operation's options. */
import type { OperationOptions } from "@debvisor/proto-events/durable";
import { DvError } from "../errors.ts";
import { parseDuration } from "../units.ts";

/** Longest deadline that a request may ask for. */
const LONGEST_MS = 30 * 86_400_000;

/** A time of the options in milliseconds. @throws INVALID_ARGUMENT naming the field */
export function durationMs(name: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms <= 0 || ms > LONGEST_MS)
    throw new DvError("INVALID_ARGUMENT", `${name}: a time such as 90s, 10m, 2h or 7d, at most 30d; not ${text}.`);
  return ms;
}

/** Longest wait for locks in milliseconds; undefined when a held lock refuses at once. */
export function parseWait({ wait }: Pick<OperationOptions, "wait">): number | undefined {
  return wait === undefined ? undefined : durationMs("wait", wait);
}

/** Time within which a trial has to be confirmed, in milliseconds; undefined: no trial. */
export function parseTry(options: Pick<OperationOptions, "try">): number | undefined {
  return options.try === undefined ? undefined : durationMs("try", options.try);
}

/** Time until the deadline in milliseconds. */
export function parseDeadline({ deadline }: Pick<OperationOptions, "deadline">, standardMs: number): number {
  return deadline === undefined ? standardMs : durationMs("deadline", deadline);
}
