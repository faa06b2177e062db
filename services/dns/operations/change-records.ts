// SPDX-License-Identifier: Apache-2.0
/**
 * `dns.change-records`: plans a change set on what the primaries have now; one step for each zone that it touches, and with
 * `lowerTtl` a step before, a wait, and a step after.
 */
import { dnsContract } from "@debvisor/proto-events/dns";
import { type ChangeResult, type RecordChange, RecordType, type ZoneResult } from "@debvisor/proto-events/dns-data";
import type { Check } from "@debvisor/proto-events/durable";
import type { Definition, Draft, PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import { durationMs } from "@debvisor/shared/operation/options";
import { changesOf, type Goal, goalOf, refuseTwice, reverseGoals, type SetChange } from "../model/change-set.ts";
import { domainName, invalid } from "../model/names.ts";
import { ttlPlan } from "../model/ttl-plan.ts";
import type { WaitCount } from "../reconcilers/wait-count.ts";
import { zonesOf } from "./ask-servers.ts";
import { effectsOf, homelessCheck, type Read, readAll, resourcesOf, type UpdateHow, updateSteps } from "./plan-sets.ts";
import { type UpdateDeps, updateZoneStep } from "./update-zone.ts";
import { type WaitParams, waitTtlStep } from "./wait-ttl.ts";

/** What the definition works with. */
export interface ChangeDeps extends UpdateDeps {
  /** Zone of names without a dot. */
  readonly zone: string;
  readonly waits: WaitCount;
}

interface ChangeInput {
  readonly changes: readonly RecordChange[];
  readonly zone?: string;
  readonly servers?: readonly string[];
  readonly key?: string;
  readonly propagation: string;
  readonly everywhere: boolean;
  readonly lowerTtl: boolean;
  readonly lowTtl: number;
}

const DEADLINE_MS = 600_000;
/** Longest time that the servers may be given to answer alike. */
const LONGEST_PROPAGATION_MS = 300_000;

/** The definition. */
export function changeRecordsDefinition(deps: ChangeDeps): Definition<ChangeInput> {
  return {
    type: "dns.change-records",
    spec: dnsContract.operations.changeRecords,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: (input, reader) => plan(deps, input, reader),
    steps: { update: updateZoneStep(deps), wait: waitTtlStep(deps.waits) },
    result: (answers): ChangeResult => {
      // Of a zone that was changed in several rounds the last one counts.
      const rounds = Object.values(answers).filter((answer) => answer !== null) as ZoneResult[];
      const zones = [...new Map(rounds.map((round) => [round.zone, round])).values()];
      return { propagated: zones.every(({ propagated }) => propagated), zones };
    },
  };
}

async function plan(deps: ChangeDeps, input: ChangeInput, reader: Reader): Promise<Draft> {
  const view = await deps.store.view();
  if (input.key !== undefined) view.requireKey(input.key);
  const zones = zonesOf(view, input.servers);
  const standard = domainName(deps.zone, "zone");
  const goals = input.changes.map((change) => goalOf(change, { zones, standard, given: input.zone }));
  refuseTwice(goals);
  const servers = input.servers ?? null;
  const look = (asked: readonly Goal[]) => readAll(deps, view, asked, servers, reader);
  await refuseBesideAlias(goals, look);
  const forward = changesOf(goals, await look(goals));
  const { goals: reverse, homeless } = await reverseOf(goals, look, zones);
  const changes = [...forward, ...changesOf(reverse, await look(reverse))];
  const propagationMs = Math.min(durationMs("propagation", input.propagation), LONGEST_PROPAGATION_MS);
  const how = { servers, key: input.key ?? null, propagationMs, everywhere: input.everywhere };
  const { steps, checks, waitsMs } = stepsOf(changes, how, input.lowerTtl ? input.lowTtl : null);
  return {
    targets: [],
    steps,
    effects: effectsOf(changes),
    checks: [...homeless.map(homelessCheck), ...checks],
    resources: resourcesOf(changes),
    waitsMs,
    undo: "The former values and times to live come back, and what is new goes: debvisor-dns-update --rollback.",
    basis: { changes, servers },
  };
}

/**
 * An alias has nothing beside it (RFC 2181 §10.1). A server ignores such an update without a word (RFC 2136 §3.4.2.2), and the rest of
 * the message takes effect; so it is refused here. @throws DNS_RECORD_INVALID
 */
async function refuseBesideAlias(goals: readonly Goal[], look: (asked: readonly Goal[]) => Promise<Read>) {
  const others = RecordType.options.filter((type) => type !== "CNAME");
  const aliases = goals.filter(({ type, action }) => type === "CNAME" && action === "set");
  const beside = aliases.flatMap((goal) => others.map((type) => ({ ...goal, type })));
  // Where the name is an alias already, nothing can be beside it; asking for other kinds would find the alias.
  const known = await look(aliases);
  const open = beside.filter((goal) => known({ ...goal, type: "CNAME" }) === null);
  const read = await look(open);
  const found = open.find((goal) => read(goal) !== null);
  if (found) throw invalid(`${found.name} has ${found.type} records; an alias has nothing beside it`);
}

/** Of an address that goes, what stood there before has to be known: the goals alone do not say it. */
async function reverseOf(
  goals: readonly Goal[],
  look: (asked: readonly Goal[]) => Promise<Read>,
  zones: readonly string[],
) {
  const asking = goals.filter(({ ptr }) => ptr);
  const read = await look(asking);
  const changeOf = (goal: Goal) => {
    const [change] = changesOf([goal], read);
    const before = read(goal);
    return change ?? { before, after: before };
  };
  return reverseGoals(goals, changeOf, zones);
}

/** The steps, with `lowTtl` those that lower the time to live before and restore it afterwards. */
function stepsOf(
  changes: readonly SetChange[],
  how: UpdateHow,
  lowTtl: number | null,
): { readonly steps: PlannedStep[]; readonly checks: readonly Check[]; readonly waitsMs: number } {
  const parts = lowTtl === null ? null : ttlPlan(changes, lowTtl);
  if (parts === null || parts.waitSeconds === 0) return { steps: updateSteps(changes, how), checks: [], waitsMs: 0 };
  const { lower, waitSeconds, change, restore } = parts;
  const wait: PlannedStep = {
    id: "wait",
    kind: "wait",
    title: `wait ${waitSeconds} s, until no cache has the old values for longer than ${lowTtl} s`,
    target: null,
    params: { seconds: waitSeconds } satisfies WaitParams,
    resource: null,
  };
  return {
    steps: [
      // A server that goes on giving out the old time to live would make the wait worthless.
      ...updateSteps(
        lower,
        { ...how, everywhere: true, yields: true },
        { id: "lower", verb: "lower the time to live of" },
      ),
      wait,
      ...updateSteps(change, how),
      ...updateSteps(restore, how, { id: "restore", verb: "set the time to live of" }),
    ],
    checks: [waitCheck(waitSeconds)],
    waitsMs: waitSeconds * 1_000,
  };
}

function waitCheck(seconds: number): Check {
  return {
    id: "dns.ttl-wait",
    target: null,
    status: "passed",
    message: `It waits ${seconds} s, the longest old time to live, before the values change.`,
    hint: null,
  };
}
