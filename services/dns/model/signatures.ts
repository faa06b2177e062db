// SPDX-License-Identifier: Apache-2.0
/** Times in RRSIG records (RFC 4034 §3.2). */

/** End of a signature in milliseconds since 1970, from the data of its record: `SOA 13 2 60 20261212110640 …`. 0 when it has none. */
export function signatureEnd(data: string): number {
  const [, year, month, day, hour, minute, second] =
    /^\S+ \d+ \d+ \d+ (\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2}) /.exec(data) ?? [];
  if (year === undefined) return 0;
  return Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
}
