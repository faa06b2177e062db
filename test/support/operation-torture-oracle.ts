// SPDX-License-Identifier: Apache-2.0
/**
 * Judges an operation that has ended: what is really there must be as before or as after, target by target, as its log says; and
 * ledger, audit trail, log and locks must agree with it. Answers sentences about what is wrong; none when all is well.
 */
import { isDeepStrictEqual } from "node:util";
import type { AuditRecord } from "@debvisor/proto-events/audit";
import { outcomesOf } from "@debvisor/shared/operation/ending";
import type { Folded } from "@debvisor/shared/operation/fold";
import type { TortureBench } from "./operation-torture-bench.ts";
import type { LedgerRow } from "./operation-torture-node.ts";
import type { Snapshot, TortureCase, TortureWorld } from "./operation-torture-worlds.ts";
import { waitFor } from "./wait-for.ts";

/** How the world is after a run. `mixed`: some targets so, some so, each as the log says. */
export type Finding = "before" | "after" | "mixed";

/** What is judged. */
export interface Judged {
  readonly world: TortureWorld;
  readonly one: TortureCase;
  readonly id: string;
  readonly before: Snapshot;
  readonly now: Snapshot;
  /** What an undisturbed run leads to, in the order of the targets. */
  readonly after: readonly unknown[];
  readonly folded: Folded | undefined;
}

export interface Verdict {
  readonly finding: Finding;
  readonly wrong: readonly string[];
}

const TRAIL_MS = 5_000;
const AUDIT: Readonly<Record<string, readonly string[]>> = {
  succeeded: ["ok", "unchanged"],
  failed: ["failed"],
  "rolled-back": ["undone"],
  cancelled: ["undone"],
  refused: ["refused"],
};

/** Judges. */
export async function judge(bench: TortureBench, judged: Judged): Promise<Verdict> {
  const places = Object.keys(judged.before).map((key, index) => placeOf(judged, key, judged.after[index]));
  const found = new Set(places.map(({ is }) => is));
  const finding: Finding = found.size > 1 ? "mixed" : found.has("after") ? "after" : "before";
  const wrong = [
    ...(judged.one.wrong?.(judged.folded) ?? []),
    ...places.flatMap((place) =>
      place.is === "neither" && !judged.world.seals ? [`${place.key} is ${JSON.stringify(place.now)}`] : [],
    ),
    ...(judged.folded ? ended(judged, judged.folded, places) : neverBegan(places)),
    ...(judged.folded ? epochs(bench, judged.id) : []),
    ...(await trail(bench, judged)),
  ];
  return { finding, wrong };
}

interface Place {
  readonly key: string;
  readonly now: unknown;
  /** `same`: before and after are equal there. */
  readonly is: "before" | "after" | "same" | "neither";
}

function placeOf({ before, now }: Judged, key: string, after: unknown): Place {
  const isBefore = isDeepStrictEqual(now[key], before[key]);
  const isAfter = isDeepStrictEqual(now[key], after);
  const is = isBefore && isAfter ? "same" : isBefore ? "before" : isAfter ? "after" : "neither";
  return { key, now: now[key], is };
}

function neverBegan(places: readonly Place[]): string[] {
  return places.flatMap(({ key, is }) => (is === "after" ? [`${key} was changed without a log`] : []));
}

function ended(judged: Judged, folded: Folded, places: readonly Place[]): string[] {
  const { world, one, id } = judged;
  const wrong = folded.closed ? [] : [`it is ${folded.state} and not closed`];
  const rows = one.ledger(id);
  if (world.seals) return wrong;
  return [...wrong, ...(world.undoable ? undoable(folded, places, rows) : irrevocable(judged, folded, rows))];
}

function undoable(folded: Folded, places: readonly Place[], rows: readonly LedgerRow[]): string[] {
  const outcomes = new Map(outcomesOf(folded).map(({ id, status }) => [id, status]));
  const wrong = places.flatMap(({ key, is }) => {
    const status = outcomes.get(key as never);
    const good = status === undefined ? folded.state === "succeeded" : status === "ok" || status === "unchanged";
    const isRight = is === "same" || is === (good ? "after" : "before");
    return isRight ? [] : [`${folded.state}, target ${key} ${status ?? ""}: looks ${is}`];
  });
  const all = folded.state === "succeeded" ? "after" : folded.state === "failed" ? undefined : "before";
  const other = places.filter(({ is }) => all !== undefined && is !== all && is !== "same");
  const open = rows.filter(({ state }) => state === "started" || state === "undoing");
  const against = rows.filter(
    ({ state }) => (all === "after" && state === "undone") || (all === "before" && state === "done"),
  );
  return [
    ...wrong,
    ...other.map(({ key, is }) => `${folded.state}, but ${key} looks ${is}`),
    ...open.map(({ step, state }) => `the ledger has ${step} as ${state}`),
    ...against.map(({ step, state }) => `${folded.state}, but the ledger has ${step} as ${state}`),
  ];
}

/** What cannot be undone happens at most once, and the log says whether it did. */
function irrevocable({ one }: Judged, folded: Folded, rows: readonly LedgerRow[]): string[] {
  const effects = one.effects?.() ?? 0;
  const [status] = [...folded.steps.values()];
  const wrong: string[] = [];
  if (effects > 1) wrong.push(`it happened ${effects} times`);
  if ((folded.state === "succeeded" || status?.state === "done") && effects !== 1)
    wrong.push(`${folded.state}, but it happened ${effects} times`);
  if (effects > 0 && (status?.state === "pending" || status?.ran === false))
    wrong.push("it happened, and the log says that it did not");
  if (folded.state === "rolled-back" && effects > 0) wrong.push("rolled back, but it happened");
  // An order that was never answered with success leaves its row begun: nothing undoes a restart.
  if (folded.state === "succeeded" && rows.some(({ state }) => state !== "done"))
    wrong.push("succeeded, but the ledger does not say done");
  return wrong;
}

/** Nobody writes into the log under another epoch than that of the last claim. */
function epochs(bench: TortureBench, id: string): string[] {
  let epoch = 1;
  const wrong: string[] = [];
  for (const { text } of bench.entries(id)) {
    const record = JSON.parse(text) as { t: string; epoch: number };
    if (record.t === "claim") {
      if (record.epoch !== epoch + 1) wrong.push(`a claim of epoch ${record.epoch} after ${epoch}`);
      epoch = record.epoch;
    } else if (record.t !== "request" && record.epoch !== epoch)
      wrong.push(`a record ${record.t} of epoch ${record.epoch} under epoch ${epoch}`);
  }
  return wrong;
}

async function trail(bench: TortureBench, { id, folded }: Judged): Promise<string[]> {
  const count = (kind: AuditRecord["kind"]) => bench.trail(id).filter((record) => record.kind === kind).length;
  if (!folded) return count("intent") <= 1 ? [] : [`${count("intent")} intents of what never began`];
  const wanted = AUDIT[folded.state] ?? [];
  const agrees = () => {
    const last = bench.trail(id).findLast(({ kind }) => kind === "outcome");
    return last !== undefined && wanted.includes(last.result?.status ?? "");
  };
  const seen = await waitFor(agrees, TRAIL_MS, () => "").then(
    () => true,
    () => false,
  );
  const last = bench.trail(id).findLast(({ kind }) => kind === "outcome")?.result?.status;
  return [
    ...(seen ? [] : [`${folded.state}, but the last outcome of the trail is ${last ?? "missing"}`]),
    ...(count("intent") === 1 ? [] : [`${count("intent")} intents in the trail`]),
    ...(intentFirst(bench.trail(id)) ? [] : ["an outcome before the intent"]),
  ];
}

function intentFirst(records: readonly AuditRecord[]): boolean {
  return records.findIndex(({ kind }) => kind === "intent") === 0;
}
