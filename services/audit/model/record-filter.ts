// SPDX-License-Identifier: Apache-2.0
/** Which records a reader asks for. */
import type { AuditRecord, ListedRecord, RecordKind } from "@debvisor/proto-events/audit";
import { DvError } from "@debvisor/shared/errors";
import { parseDuration } from "@debvisor/shared/units";

/** Filters as they arrive. */
export interface RecordQuery {
  readonly actor?: string | undefined;
  readonly node?: string | undefined;
  readonly action?: string | undefined;
  readonly result?: string | undefined;
  readonly kind?: RecordKind | undefined;
  readonly ref?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

/** Says of one record whether it is asked for. */
export type RecordTest = (record: AuditRecord) => boolean;

/** Makes the test. `now`: milliseconds since 1970, for spans of time. @throws INVALID_ARGUMENT naming the field */
export function recordTest(query: RecordQuery, now: number): RecordTest {
  const { actor, node, action, result, kind, ref } = query;
  const since = query.since === undefined ? undefined : moment(query.since, "since", now);
  const until = query.until === undefined ? undefined : moment(query.until, "until", now);
  return (record) => {
    const time = Date.parse(record.time);
    return (
      (actor === undefined || record.actor === actor || record.user === actor) &&
      (node === undefined || record.targets.includes(node)) &&
      (action === undefined || matchesWildcard(action, record.action)) &&
      (result === undefined || record.result?.status === result) &&
      (kind === undefined || record.kind === kind) &&
      (ref === undefined || record.ref === ref || record.operation === ref) &&
      (since === undefined || time > since) &&
      (until === undefined || time < until)
    );
  };
}

/** `*` stands for any characters, so that `node-agent.*` and `*.put-file` both work. No regular expression: many stars would stall it. */
export function matchesWildcard(pattern: string, text: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return text === first;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= text.length - last.length;
}

/** A point in time: RFC 3339, or that long ago. */
function moment(text: string, field: string, now: number): number {
  const span = parseDuration(text);
  if (span !== undefined) return now - span;
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  const message = `${field} is neither an RFC 3339 time nor a span of time such as 10m or 1d.`;
  throw new DvError("INVALID_ARGUMENT", message, { details: { issues: [{ path: field, message }] } });
}

/** A record as lists show it. */
export function toListed(record: AuditRecord, seq: number): ListedRecord {
  const { cred: _cred, sig: _sig, prev: _prev, ...shown } = record;
  return { ...shown, seq };
}
