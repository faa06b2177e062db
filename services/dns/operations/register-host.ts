// SPDX-License-Identifier: Apache-2.0
/**
 * `dns.register-host` and `dns.deregister-host`: the records of a host as one change, and what it made remembered with it, so that
 * it can be taken away again without anybody else's records (REQUIREMENTS DNS-15).
 */
import { dnsContract } from "@debvisor/proto-events/dns";
import { type ChangeResult, RecordDifference, type ZoneResult } from "@debvisor/proto-events/dns-data";
import type { HostKind, HostRecord } from "@debvisor/proto-events/dns-hosts";
import type { Check } from "@debvisor/proto-events/durable";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, Draft, PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import { durationMs } from "@debvisor/shared/operation/options";
import { place } from "../model/change-set.ts";
import { registration, setsOf, type Taken } from "../model/host-records.ts";
import { domainName } from "../model/names.ts";
import { address, shownSet, sortedData } from "../model/record-data.ts";
import type { DnsView } from "../reconcilers/dns-store.ts";
import type { HostEntry } from "../reconcilers/host-store.ts";
import { serversOf, zonesOf } from "./ask-servers.ts";
import { effectsOf, homelessCheck, readAll, resourcesOf, type UpdateHow, updateSteps } from "./plan-sets.ts";
import { type HostFact, type RememberDeps, type RememberParams, rememberHostStep } from "./remember-host.ts";
import { type UpdateDeps, updateZoneStep } from "./update-zone.ts";

/** What the definitions work with. */
export interface HostDeps extends UpdateDeps, RememberDeps {
  /** Zone of names without a dot. */
  readonly zone: string;
}

interface HowInput {
  readonly host: string;
  readonly zone?: string;
  readonly key?: string;
  readonly propagation: string;
}

interface RegisterInput extends HowInput {
  readonly addresses: readonly string[];
  readonly kind: HostKind;
  readonly id?: string;
  readonly ttl?: number;
  readonly takeOver: boolean;
}

interface DeregisterInput extends HowInput {
  readonly id?: string;
}

const DEADLINE_MS = 300_000;
const LONGEST_PROPAGATION_MS = 120_000;

/** Both definitions. */
export function hostDefinitions(deps: HostDeps): readonly Definition<never>[] {
  const shared = {
    deadlineMs: DEADLINE_MS,
    mask: (input: object) => ({ ...input }),
    steps: { update: updateZoneStep(deps), remember: rememberHostStep(deps) },
    result: (answers: Readonly<Record<string, unknown>>): ChangeResult => {
      const zones = Object.values(answers).filter((answer) => answer !== null) as ZoneResult[];
      return { propagated: zones.every(({ propagated }) => propagated), zones };
    },
  };
  const { registerHost, deregisterHost } = dnsContract.operations;
  const register: Definition<RegisterInput> = {
    ...{ ...shared, type: "dns.register-host", spec: registerHost },
    plan: (input, reader) => planRegister(deps, input, reader),
  };
  const deregister: Definition<DeregisterInput> = {
    ...{ ...shared, type: "dns.deregister-host", spec: deregisterHost },
    plan: (input, reader) => planDeregister(deps, input, reader),
  };
  return [register as unknown as Definition<never>, deregister as unknown as Definition<never>];
}

async function planRegister(deps: HostDeps, input: RegisterInput, reader: Reader): Promise<Draft> {
  const view = await deps.store.view();
  const { zone, name } = whereIs(deps, view, input);
  serversOf(view, zone);
  const before = (await deps.hosts.get(name)) ?? null;
  const id = input.id ?? null;
  if (before && !input.takeOver && (before.kind !== input.kind || before.id !== id))
    throw otherHost(before, { kind: input.kind, id });
  const addresses = sortedData(input.addresses.map((text) => address(text).address));
  const { sets, homeless } = setsOf({ zone, name, addresses }, zonesOf(view));
  const { kept, lost } = reachable(before?.records ?? [], view);
  const read = await readAll(deps, view, [...sets, ...kept], null, reader);
  const { changes, made, taken } = registration(sets, kept, read, { ttl: input.ttl, takeOver: input.takeOver });
  if (taken.length > 0) throw await takenError(deps, name, taken);
  const after: HostFact = { kind: input.kind, id, addresses, records: made };
  const checks = [...homeless.map(homelessCheck), ...lost.map(lostCheck)];
  return draftOf({ name, changes, before, after, checks }, howOf(input));
}

async function planDeregister(deps: HostDeps, input: DeregisterInput, reader: Reader): Promise<Draft> {
  const view = await deps.store.view();
  const { name } = whereIs(deps, view, input);
  const before = (await deps.hosts.get(name)) ?? null;
  if (before && input.id !== undefined && before.id !== input.id)
    throw otherHost(before, { kind: before.kind, id: input.id });
  const { kept, lost } = reachable(before?.records ?? [], view);
  const read = await readAll(deps, view, kept, null, reader);
  const { changes } = registration([], kept, read, { ttl: undefined, takeOver: false });
  return draftOf({ name, changes, before, after: null, checks: lost.map(lostCheck) }, howOf(input));
}

function whereIs({ zone }: HostDeps, view: DnsView, input: HowInput): { zone: string; name: string } {
  if (input.key !== undefined) view.requireKey(input.key);
  const places = { zones: zonesOf(view), standard: domainName(zone, "zone"), given: input.zone };
  return place(input.host, places, true);
}

function howOf({ key, propagation }: HowInput): UpdateHow {
  const propagationMs = Math.min(durationMs("propagation", propagation), LONGEST_PROPAGATION_MS);
  return { servers: null, key: key ?? null, propagationMs, everywhere: false };
}

/** What was made in zones that have a primary, and what in others: nobody can take that away any more. */
function reachable(records: readonly HostRecord[], view: DnsView) {
  const zones = zonesOf(view);
  return {
    kept: records.filter(({ zone }) => zones.includes(zone)),
    lost: records.filter(({ zone }) => !zones.includes(zone)),
  };
}

interface Outcome {
  readonly name: string;
  readonly changes: ReturnType<typeof registration>["changes"];
  readonly before: HostEntry | null;
  readonly after: HostFact | null;
  readonly checks: readonly Check[];
}

function draftOf({ name, changes, before, after, checks }: Outcome, how: UpdateHow): Draft {
  const isNew = JSON.stringify(factOf(before)) !== JSON.stringify(factOf(after));
  const remember: PlannedStep = {
    id: "remember",
    kind: "remember",
    title: after ? `remember what was made for ${name}` : `forget ${name}`,
    target: null,
    params: { host: name, before, after } satisfies RememberParams,
    resource: null,
  };
  const shown = (fact: HostFact | null) => fact?.addresses.join(", ") ?? null;
  const registered = { target: null, what: `host ${name}`, before: shown(before), after: shown(after), diff: null };
  const steps = [...updateSteps(changes, how), ...(isNew ? [remember] : [])];
  return {
    targets: [],
    steps,
    effects: [...effectsOf(changes), ...(isNew ? [registered] : [])],
    checks,
    resources: steps.length > 0 ? [...resourcesOf(changes), `dns-host/${name}`] : [],
    undo: "The former records come back, and what was remembered: dvctl operations rollback ID.",
    basis: { changes, before },
  };
}

function factOf(fact: HostFact | null): unknown {
  return fact && [fact.kind, fact.id, fact.addresses, fact.records];
}

function otherHost(
  { host, kind, id, addresses }: HostEntry,
  asked: { readonly kind: HostKind; readonly id: string | null },
): DvError {
  const named = (one: { kind: string; id: string | null }) => `${one.kind} ${one.id ?? "without an id"}`;
  return new DvError(
    "CONFLICT",
    `${host} is registered for ${named({ kind, id })} with ${addresses.join(", ")}, not for ${named(asked)}.`,
    { details: { host, registered: { kind, id, addresses }, asked, hint: "Take another name, or --take-over." } },
  );
}

async function takenError({ hosts }: HostDeps, name: string, taken: readonly Taken[]): Promise<DvError> {
  const others = (await hosts.all()).hosts.filter(({ host }) => host !== name);
  const records = taken.map(({ set, found }) => {
    const owner = others.find((one) => one.records.some((own) => own.name === set.name && own.type === set.type));
    const { zone, name: where, type, data } = set;
    const difference = { zone, name: where, type, before: shownSet(found), after: data.join(", ") };
    return { ...RecordDifference.parse(difference), host: owner?.host ?? null };
  });
  const [first] = records;
  const owner = first?.host ? `registered for ${first.host}` : "made by somebody else";
  const more = records.length > 1 ? ` (and ${records.length - 1} more)` : "";
  return new DvError(
    "CONFLICT",
    `${first?.name} ${first?.type} has ${first?.before}, ${owner}; it shall have ${first?.after}${more}.`,
    { details: { records, hint: "Remove what is there, or replace it with --take-over." } },
  );
}

function lostCheck({ zone, name, type }: HostRecord): Check {
  return {
    id: "dns.zone-gone",
    target: null,
    status: "warned",
    message: `No primary is configured for ${zone} any more; ${name} ${type} stays as it is.`,
    hint: `dvctl dns servers add NAME --address IP --role primary --zone ${zone} --key FILE`,
  };
}
