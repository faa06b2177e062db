// SPDX-License-Identifier: Apache-2.0
/** Looks at records: those of a name, those of a zone, and whether every server has them alike. */
import type { dnsContract } from "@debvisor/proto-events/dns";
import { RecordSet, RecordType } from "@debvisor/proto-events/dns-data";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import type { Bind } from "../drivers/bind.ts";
import type { AnswerRecord } from "../drivers/bind-output.ts";
import { place } from "../model/change-set.ts";
import { domainName } from "../model/names.ts";
import { sortedData } from "../model/record-data.ts";
import type { DnsStore, DnsView } from "../reconcilers/dns-store.ts";
import { compareServers, readPrimary, serversOf, zonesOf } from "./ask-servers.ts";

type C = typeof dnsContract;

export interface RecordDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  /** Zone of names without a dot. */
  readonly zone: string;
}

const LIST = {
  fields: fieldsOf(RecordSet),
  aliases: {},
  id: ({ name, type }: RecordSet) => `${name} ${type}`.slice(0, 64),
  sort: "name",
};

export function listRecordsHandler(deps: RecordDeps) {
  return async (input: Input<C, "listRecords">, { signal }: RequestContext): Promise<Output<C, "listRecords">> => {
    const view = await deps.store.view();
    if (input.name === undefined) return paginate(await wholeZone(deps, view, input.zone, signal), input, LIST);
    const { zone, name } = where(deps, view, input.name, input.zone);
    return paginate(await recordsOf(deps, view, { zone, name, types: RecordType.options }, signal), input, LIST);
  };
}

export function checkPropagationHandler(deps: RecordDeps) {
  return async (
    input: Input<C, "checkPropagation">,
    { signal }: RequestContext,
  ): Promise<Output<C, "checkPropagation">> => {
    const { bind, store } = deps;
    const view = await store.view();
    const { zone, name } = where(deps, view, input.name, input.zone);
    const types = input.type === undefined ? RecordType.options : [input.type];
    const records = await recordsOf(deps, view, { zone, name, types }, signal);
    const wanted = types.map((type) => {
      const set = records.find((record) => record.type === type);
      return { name, type, set: set ? { ttl: set.ttl, data: set.data } : null };
    });
    const isAlias = records.some(({ type }) => type === "CNAME");
    const compared = isAlias ? wanted.filter(({ type }) => type === "CNAME") : wanted;
    const servers = await compareServers(bind, view, serversOf(view, zone), compared, { signal });
    return { zone, name, records, servers, propagated: servers.every(({ status }) => status === "same") };
  };
}

function where({ zone: standard }: RecordDeps, view: DnsView, name: string, given: string | undefined) {
  return place(name, { zones: zonesOf(view), standard: domainName(standard, "zone"), given }, false);
}

interface Wanted {
  readonly zone: string;
  readonly name: string;
  readonly types: readonly RecordType[];
}

/** The sets of a name, as the primary has them. An alias has nothing beside it, so it is asked for first. */
async function recordsOf(
  { bind }: RecordDeps,
  view: DnsView,
  { zone, name, types }: Wanted,
  signal: AbortSignal,
): Promise<RecordSet[]> {
  const servers = serversOf(view, zone);
  const ask = async (asked: readonly RecordType[]) => {
    const names = asked.map((type) => ({ name, type }));
    const { sets } = await readPrimary(bind, view, servers, names, { signal });
    return asked.flatMap((type, i) =>
      sets[i] ? [{ zone, name, type, ttl: sets[i].ttl, data: [...sets[i].data] }] : [],
    );
  };
  const alias = await ask(["CNAME"]);
  return alias.length > 0 ? alias : await ask(types.filter((type) => type !== "CNAME"));
}

async function wholeZone(
  { bind, zone: standard }: RecordDeps,
  view: DnsView,
  given: string | undefined,
  signal: AbortSignal,
): Promise<RecordSet[]> {
  const zone = domainName(given ?? standard, "zone");
  const [primary] = serversOf(view, zone).primaries;
  if (!primary) return [];
  const records = await bind.transfer(view.endpoint(primary), zone, { signal });
  const known = records.filter(({ type }) => (RecordType.options as readonly string[]).includes(type));
  return [...Map.groupBy(known, ({ name, type }) => `${name} ${type}`).values()].map((own) => setOf(zone, own));
}

function setOf(zone: string, records: readonly AnswerRecord[]): RecordSet {
  const { name = "", type = "", ttl = 0 } = records[0] ?? {};
  return { zone, name, type, ttl, data: sortedData(records.map(({ data }) => data)) };
}
