// SPDX-License-Identifier: Apache-2.0
/** Which events a record of an operation's log is told as. Pure. */
import { createHash } from "node:crypto";
import type { Payload } from "@debvisor/proto-events/kit";
import type { operationContract } from "@debvisor/proto-events/operation";
import { outcomesOf } from "./ending.ts";
import type { Folded } from "./fold.ts";
import type { LogRecord } from "./log-record.ts";
import { parseTry } from "./options.ts";
import { progressOf } from "./view.ts";

type Events = (typeof operationContract)["events"];

/** An event to be published. */
export interface OperationEvent {
  readonly name: keyof Events & string;
  readonly payload: Payload<typeof operationContract, keyof Events & string>;
  readonly id: string;
}

/** Events of a record; `folded` is the operation after it. */
export function eventsOf(folded: Folded, record: LogRecord): readonly OperationEvent[] {
  const { created } = folded;
  const fact = {
    operation: created.operation,
    type: created.type,
    state: folded.state,
    actor: created.actor,
    targets: created.plan.targets.map(({ name }) => name),
    reason: created.options.reason ?? null,
    revision: folded.seq,
  };
  const one = (name: OperationEvent["name"], more: object = {}): readonly OperationEvent[] => [
    { name, payload: { ...fact, ...more } as OperationEvent["payload"], id: record.rid },
  ];
  switch (record.t) {
    case "created":
      return one("run.created");
    case "claim":
      return one("run.adopted", { owner: record.owner, epoch: record.epoch });
    case "locks":
      return one("run.started");
    case "steps":
      return one("run.progressed", { progress: progressOf(folded), steps: stepsOf(folded, record.changes) });
    case "request":
      return one("run.requested", { request: record.request, by: record.by });
    case "phase":
      return phaseEvents(folded, record, one);
    case "waiting":
      return [contended(folded, record)];
    case "end":
      return one("run.ended", endOf(folded, record));
    case "replanned":
    case "closed":
      return [];
  }
}

type Maker = (name: OperationEvent["name"], more?: object) => readonly OperationEvent[];

function phaseEvents(
  folded: Folded,
  record: Extract<LogRecord, { t: "phase" }>,
  one: Maker,
): readonly OperationEvent[] {
  if (record.phase === "paused") return one("run.paused");
  if (record.phase === "trying") return one("run.tried", { seconds: (parseTry(folded.created.options) ?? 0) / 1_000 });
  if (record.phase === "stuck")
    return one("run.stuck", {
      error: folded.stuckError,
      repair: `dvctl operations continue ${folded.created.operation}`,
    });
  return one("run.progressed", { progress: progressOf(folded), steps: [] });
}

function stepsOf(folded: Folded, changes: readonly { readonly step: string; readonly state: string }[]) {
  const names = new Map(folded.created.plan.targets.map(({ id, name }) => [id, name]));
  const targets = new Map(folded.created.steps.map(({ id, target }) => [id, target]));
  return changes.map(({ step, state }) => {
    const target = targets.get(step) ?? null;
    return { id: step, target: target === null ? null : (names.get(target) ?? target), state };
  });
}

function contended({ created }: Folded, record: Extract<LogRecord, { t: "waiting" }>): OperationEvent {
  const { resource, holder, waits } = record;
  const payload = { resource, operation: created.operation, holder, actor: created.actor, waits };
  // Its own id: the record's may be told as another event one day.
  return { name: "lock.contended", payload, id: createHash("sha256").update(record.rid).digest("hex").slice(0, 32) };
}

function endOf(folded: Folded, record: Extract<LogRecord, { t: "end" }>) {
  return {
    changed: record.changed,
    error: record.error,
    outcomes: outcomesOf(folded).map(({ id, name, status }) => ({ id, name, status })),
    ms: Math.max(0, Date.parse(record.at) - Date.parse(folded.created.at)),
  };
}
