// SPDX-License-Identifier: Apache-2.0
/** `dns.change-records`: plans a change set on what the primaries have now; one step for each zone that it touches. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { type ChangeResult, type RecordChange, RecordType, type ZoneResult } from "@debvisor/proto-events/dns-data";
import type { Check } from "@debvisor/proto-events/durable";
import type { Definition, Draft, PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import { durationMs } from "@debvisor/shared/operation/options";
import { changesOf, type Goal, goalOf, refuseTwice, reverseGoals, type SetChange } from "../model/change-set.ts";
import { domainName, invalid } from "../model/names.ts";
import { type RrSet, shownSet } from "../model/record-data.ts";
import type { DnsView } from "../reconcilers/dns-store.ts";
import { readPrimary, serversOf, zonesOf } from "./ask-servers.ts";
import { type UpdateDeps, type UpdateParams, updateZoneStep } from "./update-zone.ts";

/** What the definition works with. */
export interface ChangeDeps extends UpdateDeps {
  /** Zone of names without a dot. */
  readonly zone: string;
}

interface ChangeInput {
  readonly changes: readonly RecordChange[];
  readonly zone?: string;
  readonly servers?: readonly string[];
  readonly key?: string;
  readonly propagation: string;
  readonly everywhere: boolean;
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
    steps: { update: updateZoneStep(deps) },
    result: (answers): ChangeResult => {
      const zones = Object.values(answers) as ZoneResult[];
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
  const steps = stepsOf(changes, { servers, key: input.key ?? null, propagationMs, everywhere: input.everywhere });
  return {
    targets: [],
    steps,
    effects: changes.map(({ name, type, before, after }) => ({
      ...{ target: null, what: `${type} ${name}`, before: shownSet(before), after: shownSet(after), diff: null },
    })),
    checks: homeless.map(homelessCheck),
    resources: resourcesOf(changes),
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

type Read = (goal: Goal) => RrSet | null;

/** What the primaries have of some goals, one question for each, one run of dig for each zone. */
async function readAll(
  { bind }: ChangeDeps,
  view: DnsView,
  goals: readonly Goal[],
  only: readonly string[] | null,
  { signal }: Reader,
): Promise<Read> {
  const found = new Map<string, RrSet | null>();
  const byZone = Map.groupBy(goals, ({ zone }) => zone);
  await Promise.all(
    [...byZone].map(async ([zone, asked]) => {
      const servers = serversOf(view, zone, only ?? undefined);
      const { sets } = await readPrimary(bind, view, servers, asked, { signal });
      for (const [i, goal] of asked.entries()) found.set(keyOf(goal), sets[i] ?? null);
    }),
  );
  return (goal) => found.get(keyOf(goal)) ?? null;
}

function keyOf({ zone, name, type }: Pick<Goal, "zone" | "name" | "type">): string {
  return `${zone} ${name} ${type}`;
}

/** More names of one zone than these take the lock of the zone. */
const NAMES_LOCKED = 8;

/**
 * Locks keep changes of ours apart and have them wait for their turn. What binds every writer are the prerequisites in the update, so it
 * does no harm that a lock of a zone and those of its names do not know of each other.
 */
function resourcesOf(changes: readonly SetChange[]): string[] {
  return [...Map.groupBy(changes, ({ zone }) => zone)].flatMap(([zone, own]) => {
    const names = [...new Set(own.map(({ name }) => `dns/${zone}/${name}`))];
    return names.length > NAMES_LOCKED ? [`dns/${zone}`] : names;
  });
}

function stepsOf(
  changes: readonly SetChange[],
  options: Pick<UpdateParams, "servers" | "key" | "propagationMs" | "everywhere">,
): PlannedStep[] {
  return [...Map.groupBy(changes, ({ zone }) => zone)].map(([zone, own], i) => ({
    id: `zone-${i + 1}`,
    kind: "update",
    title: `change ${own.length === 1 ? `${own[0]?.type} ${own[0]?.name}` : `${own.length} sets of records`} in ${zone}`,
    target: null,
    params: { zone, changes: own, ...options } satisfies UpdateParams,
    resource: null,
  }));
}

function homelessCheck(address: string): Check {
  return {
    id: "dns.reverse-zone",
    target: null,
    status: "warned",
    message: `No primary is configured for a reverse zone of ${address}; its PTR stays as it is.`,
    hint: "dvctl dns servers add NAME --address IP --zone 2.0.192.in-addr.arpa --key FILE, with the zone of the network.",
  };
}
