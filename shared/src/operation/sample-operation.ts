// SPDX-License-Identifier: Apache-2.0
/** Logs of operations for tests: records in the order and form in which an engine writes them. */
import { OperationOptions, type PlannedTarget } from "@debvisor/proto-events/durable";
import type { WireError } from "@debvisor/proto-events/replies";
import { DvError } from "../errors.ts";
import type { Definition } from "./definition.ts";
import { type Folded, fold, type PlacedRecord } from "./fold.ts";
import type { LogRecord, NewRecord, StepChange } from "./log-record.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const DIGEST = "a".repeat(64);
export const SAMPLE_ID = "op-k3x7w2mqabcde";

/** A step's failure. */
export const FAILURE: WireError = new DvError("TOOL_FAILED", "the disk is full").toWire();

/** Id of node number n, from 1. */
export function nodeId(n: number): string {
  const [high = "a", low = "a"] = [LETTERS[Math.floor(n / 26) % 26], LETTERS[n % 26]];
  return `${high}${low}`.repeat(8);
}

/** Which steps a sample has: `targets[i]` is the number of a node, or null for the cluster. */
export interface Shape {
  readonly targets: readonly (number | null)[];
  readonly states?: Readonly<Record<number, PlannedTarget["state"]>>;
  readonly options?: Record<string, unknown>;
  /** Default true. */
  readonly undoable?: boolean;
  /** Number of the step that cannot be undone and seals those before it. */
  readonly sealing?: number;
}

/** The first record: steps `s0`, `s1`, … */
export function created({ targets, states = {}, options = {}, undoable = true, sealing }: Shape): NewRecord {
  const nodes = [...new Set([...targets, ...Object.keys(states).map(Number)])].filter((n) => n !== null);
  const steps = targets.map((n, i) => ({
    id: `s${i}`,
    kind: "line",
    title: `step ${i}`,
    target: n === null ? null : nodeId(n),
    params: { i },
    resource: null,
    undoable: undoable && i !== sealing,
    seals: i === sealing,
  }));
  const at = "2026-01-01T00:00:00.000Z";
  return {
    t: "created",
    operation: SAMPLE_ID,
    type: "test.write-lines",
    version: 1,
    owner: "engine-1",
    input: {},
    masked: {},
    options: OperationOptions.parse(options),
    plan: {
      digest: DIGEST,
      targetDigest: DIGEST,
      targets: nodes.map((n) => ({ id: nodeId(n), name: `node-${n}`, zone: null, state: states[n] ?? "change" })),
      steps: steps.map(({ id, title, target }) => ({ id, title, target })),
      effects: [],
      checks: [],
      undo: "rollback",
    },
    steps,
    resources: [],
    actor: "tester",
    user: null,
    source: null,
    requestId: null,
    traceId: null,
    deadlineMs: 60_000,
    deadlineAt: at,
    retryOf: null,
  } as NewRecord;
}

/** Records with their places; a claim raises the epoch. */
export function placed(records: readonly NewRecord[]): PlacedRecord[] {
  let epoch = 1;
  return records.map((record, i) => {
    if (record.t === "claim") epoch++;
    const at = new Date(1_767_225_600_000 + i * 1_000).toISOString();
    const full = { ...record, v: 1, rid: i.toString(16).padStart(32, "0"), epoch, at } as unknown as LogRecord;
    return { seq: i + 1, timeMs: 1_767_225_600_000 + i * 1_000, record: full };
  });
}

/** Changes of steps. */
export function steps(...changes: StepChange[]): NewRecord {
  return { t: "steps", changes };
}

/** Another phase. */
export function phase(
  name: "running" | "paused" | "undoing" | "stuck",
  end: "rolled-back" | "cancelled" | null = null,
): NewRecord {
  return { t: "phase", phase: name, end, error: end === "rolled-back" ? FAILURE : null };
}

/** Somebody asks for something. */
export function request(what: "cancel" | "pause" | "continue" | "rollback"): NewRecord {
  return { t: "request", request: what, by: "bob", user: null, reason: "lunch" };
}

/** The end. */
export function end(state: Folded["state"]): NewRecord {
  return { t: "end", state, error: null, result: null, changed: true };
}

/** The state after records. */
export function foldedOf(...records: NewRecord[]): Folded {
  const folded = fold(placed(records));
  if (!folded) throw new Error("the sample does not begin with what was asked for");
  return folded;
}

/** The one kind of step that the samples have. */
export const SAMPLE_KINDS: Definition<never>["steps"] = {
  line: {
    timeoutMs: 1_000,
    do: () => Promise.resolve(null),
    undo: () => Promise.resolve(null),
    inspect: () => Promise.resolve("after"),
  },
};
