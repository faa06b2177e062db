// SPDX-License-Identifier: Apache-2.0
/** When a certificate is renewed, pure (RULES.md 8: leaves live 7 days and are renewed at two thirds). */

/** Part of its life after which a certificate is due. */
const DUE_AT = 2 / 3;

/** A clock that shows an earlier time is wrong: nothing was issued before. */
export const EARLIEST_NOW_MS = Date.UTC(2026, 0, 1);

/** Validity of a certificate. */
export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/**
 * Whether two thirds of the life are over, or it lies in the future, because the clock by which it was issued was ahead. Never by a clock
 * that is certainly wrong: what is issued by it helps nobody. `now` in milliseconds since 1970.
 */
export function isDue({ notBefore, notAfter }: Validity, now: number): boolean {
  if (now < EARLIEST_NOW_MS) return false;
  if (now < notBefore.getTime()) return true;
  const life = notAfter.getTime() - notBefore.getTime();
  return now >= notBefore.getTime() + life * DUE_AT;
}

/** A certificate as it is shown, by its end alone: leaves live seven days and begin a day early (RULES.md part 5). */
export function stateOf(notAfter: string | undefined, now: number): "valid" | "due" | "expired" | "unknown" {
  if (notAfter === undefined) return "unknown";
  const end = Date.parse(notAfter);
  if (now >= end) return "expired";
  return isDue({ notBefore: new Date(end - LIFE_MS), notAfter: new Date(end) }, now) ? "due" : "valid";
}

/** From the beginning to the end of a leaf: seven days, and one that lies before its making. */
const LIFE_MS = 8 * 86_400_000;
