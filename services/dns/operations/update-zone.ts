// SPDX-License-Identifier: Apache-2.0
/**
 * The step that changes one zone: compare-and-set on a primary, then a look at every server. Repeating it is harmless: where the
 * prerequisites fail because the records are as they shall be already, it was an earlier attempt that did it.
 */
import { createHash } from "node:crypto";
import { dnsContract } from "@debvisor/proto-events/dns";
import type { DnsServer, ServerAnswer, ZoneResult } from "@debvisor/proto-events/dns-data";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { StepContext, StepKind } from "@debvisor/shared/operation/definition";
import type { Bind } from "../drivers/bind.ts";
import { type SetChange, updateLines } from "../model/change-set.ts";
import { type RrSet, sameSet, shownSet } from "../model/record-data.ts";
import type { DnsStore, DnsView } from "../reconcilers/dns-store.ts";
import type { OrderGuard } from "../reconcilers/order-guard.ts";
import { compareServers, readPrimary, readSets, serversOf, type ZoneServers } from "./ask-servers.ts";

/** What the step works with. */
export interface UpdateDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly bus: Bus;
  readonly guard: OrderGuard;
}

/** Parameters of the step. */
export interface UpdateParams {
  readonly zone: string;
  readonly changes: readonly SetChange[];
  /** Names or addresses of the servers that it is limited to. */
  readonly servers: readonly string[] | null;
  /** Key that signs instead of the servers' own. */
  readonly key: string | null;
  readonly propagationMs: number;
  /** Whether the step fails, and is undone, where not every server answers alike in time. */
  readonly everywhere: boolean;
  /** Whether its undo leaves to somebody else what they have changed since. */
  readonly yields?: boolean;
}

/** Beyond the time that the servers have to answer alike. */
const REST_MS = 20_000;
const FIRST_LOOK_MS = 30;
const LONGEST_PAUSE_MS = 500;
/** Records that an event names; the count says how many there are. */
const SHOWN = 100;

type Direction = "do" | "undo";

/** The step. */
export function updateZoneStep(deps: UpdateDeps): StepKind<UpdateParams> {
  return {
    timeoutMs: ({ propagationMs }) => propagationMs + REST_MS,
    do: (params, context) => change(deps, params, context, "do"),
    undo: (params, context) => change(deps, params, context, "undo"),
    inspect: async ({ zone, changes, servers }, { signal, done }) => {
      const view = await deps.store.view();
      const { primaries } = serversOf(view, zone, servers ?? undefined);
      // The one that took it comes first: another primary may get it from there.
      const took = (done as ZoneResult | null)?.server;
      const ordered = [...primaries].sort((a, b) => Number(b.name === took) - Number(a.name === took));
      const { sets } = await readPrimary(deps.bind, view, { zone, primaries: ordered }, changes, { signal });
      if (changes.every(({ before }, i) => sameSet(before, sets[i] ?? null))) return "before";
      return changes.every(({ after }, i) => sameSet(after, sets[i] ?? null)) ? "after" : "unclear";
    },
  };
}

async function change(
  deps: UpdateDeps,
  params: UpdateParams,
  context: StepContext,
  direction: Direction,
): Promise<ZoneResult> {
  const view = await deps.store.view();
  const servers = serversOf(view, params.zone, params.servers ?? undefined);
  const { server, changes } = await updateOne(deps, params, { context, view, servers, direction });
  if (changes.length === 0) return { zone: params.zone, server, propagated: true, servers: [] };
  const own = { ...params, changes };
  const answers = await watch(deps.bind, view, servers, own, context, direction);
  const propagated = answers.every(({ status }) => status === "same");
  const result: ZoneResult = { zone: params.zone, server, propagated, servers: answers };
  await tell(deps.bus, own, result, context, direction);
  if (params.everywhere && !propagated && direction === "do") throw notEverywhere(params.zone, answers);
  return result;
}

function notEverywhere(zone: string, servers: readonly ServerAnswer[]): DvError {
  const behind = servers.filter(({ status }) => status !== "same");
  const names = behind.map(({ server, status, serial }) => `${server} (${status}, serial ${serial ?? "unknown"})`);
  return new DvError("DNS_NOT_PROPAGATED", `${zone} is not everywhere as it shall be: ${names.join(", ")}.`, {
    details: { zone, servers: behind },
  });
}

interface Attempt {
  readonly context: StepContext;
  readonly view: DnsView;
  readonly servers: ZoneServers;
  readonly direction: Direction;
}

/** Updates the first primary that answers; returns its name and what it was asked for. @throws CONFLICT, COMMAND_FENCED, DNS_* */
async function updateOne(
  deps: UpdateDeps,
  params: UpdateParams,
  attempt: Attempt,
): Promise<{ readonly server: string; readonly changes: readonly SetChange[] }> {
  let failure: unknown = new DvError("DNS_UNREACHABLE", `No primary of ${params.zone} answers.`);
  for (const server of attempt.servers.primaries) {
    try {
      return { server: server.name, changes: await updateAt(server, deps, params, attempt) };
    } catch (error) {
      if (toDvError(error).code !== "DNS_UNREACHABLE") throw error;
      failure = error;
    }
  }
  throw failure;
}

async function updateAt(
  server: DnsServer,
  { bind, bus, guard }: UpdateDeps,
  params: UpdateParams,
  attempt: Attempt,
): Promise<readonly SetChange[]> {
  const { zone, changes, key } = params;
  const { context, view, direction } = attempt;
  const { order, signal, clock, done } = context;
  const endpoint = view.endpoint(server, key);
  const look = async () => (await readSets(bind, endpoint, zone, changes, { signal })).sets;
  // Prerequisites do not compare times to live (RFC 2136 §2.4), so that is done here, as late as can be.
  let sets = await look();
  const open = direction === "undo" ? leftToUndo(params, sets, done) : changes;
  const stands = (side: "from" | "to") =>
    changes.every((one, i) => !open.includes(one) || sameSet(sideOf(one, direction)[side], sets[i] ?? null));
  await guard.pass(order, clock);
  if (open.length > 0 && stands("from")) {
    if (await bind.update(endpoint, zone, updateLines(open, direction), { signal })) return open;
    sets = await look();
  }
  if (stands("to")) return open;
  throw await refusal(bus, params, attempt, sets);
}

/**
 * What an undo has to take back. Where nothing of a step is there that is not known to have succeeded, and of one that yields, what
 * somebody else has changed is left to them.
 */
function leftToUndo(
  { changes, yields = false }: UpdateParams,
  sets: readonly (RrSet | null)[],
  done: unknown,
): readonly SetChange[] {
  const found = (i: number) => sets[i] ?? null;
  const isNowhere = changes.every(({ after }, i) => !sameSet(after, found(i)));
  if (!yields && (done !== null || !isNowhere)) return changes;
  return changes.filter(({ before, after }, i) => sameSet(before, found(i)) || sameSet(after, found(i)));
}

/** Tells of records that are otherwise than they were planned on. */
async function refusal(
  bus: Bus,
  { zone, changes }: UpdateParams,
  { context, direction }: Attempt,
  sets: readonly (RrSet | null)[],
): Promise<DvError> {
  const { submission } = context;
  const found = changes.flatMap((one, i) => {
    const set = sets[i] ?? null;
    return sameSet(sideOf(one, direction).from, set) ? [] : [{ ...difference(one), found: shownSet(set) }];
  });
  const records = found.slice(0, SHOWN);
  await bus.publishEvent(
    dnsContract,
    "change.refused",
    { change: submission.id as never, zone, records },
    { subject: zone, id: eventId(context, direction, "refused"), actor: submission.actor },
  );
  return new DvError("CONFLICT", conflictText(records, direction), { details: { zone, records } });
}

function conflictText(
  records: readonly { name: string; type: string; before: string | null; after: string | null; found: string | null }[],
  direction: Direction,
): string {
  const [first] = records;
  if (!first) return "The records changed while they were looked at.";
  const wanted = (direction === "do" ? first.before : first.after) ?? "none";
  const more = records.length > 1 ? ` (and ${records.length - 1} more)` : "";
  return `Somebody else changed ${first.name} ${first.type}: expected ${wanted}, found ${first.found ?? "none"}${more}.`;
}

function sideOf({ before, after }: SetChange, direction: Direction): { from: RrSet | null; to: RrSet | null } {
  return direction === "do" ? { from: before, to: after } : { from: after, to: before };
}

/** Looks at every server until all answer alike or the time is over. */
async function watch(
  bind: Bind,
  view: DnsView,
  servers: ZoneServers,
  { changes, propagationMs }: UpdateParams,
  { clock, signal }: StepContext,
  direction: Direction,
): Promise<ServerAnswer[]> {
  const wanted = changes.map((one) => ({ name: one.name, type: one.type, set: sideOf(one, direction).to }));
  const deadline = clock.monotonic() + propagationMs;
  for (let pause = FIRST_LOOK_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    const answers = await compareServers(bind, view, servers, wanted, { signal });
    if (answers.every(({ status }) => status === "same") || clock.monotonic() + pause > deadline) return answers;
    await clock.sleep(pause, signal);
    signal.throwIfAborted();
  }
}

async function tell(
  bus: Bus,
  { zone, changes }: UpdateParams,
  { server, propagated }: ZoneResult,
  context: StepContext,
  direction: Direction,
): Promise<void> {
  const { submission } = context;
  const undone = direction === "undo";
  const records = changes.slice(0, SHOWN).map(difference);
  await bus.publishEvent(
    dnsContract,
    "record.changed",
    {
      ...{ change: submission.id as never, zone, server, undone, propagated, records },
      ...{ count: changes.length, actor: submission.actor },
    },
    { subject: zone, id: eventId(context, direction, "changed"), actor: submission.actor },
  );
}

/** Id of an event of a step: the same for every attempt, so that a repeat is stored once. */
export function eventId({ submission, order }: StepContext, direction: Direction, fact: string): string {
  const text = [submission.id, order.step, direction, fact].join(" ");
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

function difference({ zone, name, type, before, after }: SetChange) {
  return { zone, name, type, before: shownSet(before), after: shownSet(after) };
}
