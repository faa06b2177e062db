// SPDX-License-Identifier: Apache-2.0
/** Sizes, durations and ages: constants, reading what people type, and writing what people read. */

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

export const SECOND_MS = 1000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;
const BYTE_FACTORS: Readonly<Record<string, number>> = { "": 1, k: KiB, m: MiB, g: GiB, t: TiB, p: 1024 * TiB };
const DURATION_FACTORS: Readonly<Record<string, number>> = { ms: 1, s: SECOND_MS, m: MINUTE_MS, h: HOUR_MS, d: DAY_MS };

/** Writes a size with binary units: `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  let value = Math.abs(bytes);
  let unit = 0;
  // 1023.95 would round to "1024.0" of the smaller unit.
  while (value >= 1023.95 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${bytes < 0 ? "-" : ""}${value.toFixed(digits)} ${BYTE_UNITS[unit] ?? "B"}`;
}

/** Reads `4096`, `512M`, `1.5GiB`; units are binary, letter case does not matter. Undefined for anything else. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
  if (!match) return undefined;
  const bytes = Math.round(Number(match[1]) * (BYTE_FACTORS[(match[2] ?? "").toLowerCase()] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Writes a duration with its two largest units: `90061000` → `1d 1h`, `1500` → `1.5s`, `12` → `12ms`. */
export function formatDuration(ms: number): string {
  const sign = ms < 0 ? "-" : "";
  const rest = Math.abs(ms);
  if (rest < SECOND_MS) return `${sign}${Math.round(rest)}ms`;
  if (rest < 10 * SECOND_MS) return `${sign}${Number((rest / SECOND_MS).toFixed(1))}s`;
  const seconds = Math.round(rest / SECOND_MS);
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ] as const;
  const first = parts.findIndex(([amount]) => amount > 0);
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return sign + shown.map(([amount, unit]) => `${amount}${unit}`).join(" ");
}

/** Reads `5` (seconds), `500ms`, `1.5s`, `2m`, `1h30m`, `7d`. Undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const compact = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?$/.test(compact)) return Number(compact) * SECOND_MS;
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(compact)) return undefined;
  let total = 0;
  for (const [, amount, unit] of compact.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(amount) * (DURATION_FACTORS[unit ?? ""] ?? Number.NaN);
  }
  return total;
}

/** Writes how long ago an RFC 3339 time was: `12s ago`; a time in the future (clock skew) is `now`. */
export function formatAge(time: string, nowMs: number): string {
  const at = Date.parse(time);
  if (Number.isNaN(at)) return time;
  const ms = nowMs - at;
  return ms < SECOND_MS ? "now" : `${formatDuration(Math.floor(ms / SECOND_MS) * SECOND_MS)} ago`;
}
