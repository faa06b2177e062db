// SPDX-License-Identifier: Apache-2.0
/** When an append-only stream counts as nearly full. Pure. */

/** Percentages at which people are told, each once. */
const LEVELS = [80, 90, 95, 99];

/** How many of the levels are reached, and how full it is in whole percent. */
export function levelOf(bytes: number, maxBytes: number): { readonly level: number; readonly percent: number } {
  const percent = maxBytes <= 0 ? 0 : Math.floor((bytes / maxBytes) * 100);
  return { level: LEVELS.filter((limit) => percent >= limit).length, percent };
}
