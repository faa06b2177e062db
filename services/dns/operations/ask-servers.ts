// SPDX-License-Identifier: Apache-2.0
/** Which servers a zone has, and what they answer: the sets of records of one of them, and how all of them stand to what is wanted. */
import type { DnsServer, ServerAnswer } from "@debvisor/proto-events/dns-data";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { Bind, CallOptions, Endpoint, Question } from "../drivers/bind.ts";
import type { Reply, TsigFault } from "../drivers/bind-output.ts";
import { invalid } from "../model/names.ts";
import { type RrSet, sameSet, shownSet, sortedData } from "../model/record-data.ts";
import type { DnsView } from "../reconcilers/dns-store.ts";

/** A set of records by its name and kind. */
export interface SetName {
  readonly name: string;
  readonly type: string;
}

/** The servers of a zone; with `only` (names or addresses) those alone, which has to leave a primary. */
export interface ZoneServers {
  readonly zone: string;
  readonly primaries: readonly DnsServer[];
  readonly all: readonly DnsServer[];
}

/** @throws DNS_SERVER_MISSING saying what to configure, DNS_SERVER_NOT_FOUND */
export function serversOf({ servers }: Pick<DnsView, "servers">, zone: string, only?: readonly string[]): ZoneServers {
  const unknown = only?.find((one) => !servers.some(({ name, address }) => one === name || one === address));
  if (unknown !== undefined)
    throw new DvError("DNS_SERVER_NOT_FOUND", `No DNS server is called ${unknown}.`, { details: { server: unknown } });
  const all = servers.filter((server) => server.zones.includes(zone) && isMeant(server, only));
  const primaries = all.filter(({ role }) => role === "primary");
  if (primaries.length > 0) return { zone, primaries, all };
  const among = only ? ` among ${only.join(", ")}` : "";
  const hint = `dvctl dns servers add NAME --address IP --role primary --zone ${zone} --key FILE`;
  throw new DvError("DNS_SERVER_MISSING", `No primary is configured for the zone ${zone}${among}: ${hint}`, {
    details: { zone, hint },
  });
}

/** Zones that have a primary; with `only` one among those servers. */
export function zonesOf({ servers }: Pick<DnsView, "servers">, only?: readonly string[]): string[] {
  const primaries = servers.filter((server) => server.role === "primary" && isMeant(server, only));
  return [...new Set(primaries.flatMap(({ zones }) => zones))].sort();
}

function isMeant({ name, address }: DnsServer, only: readonly string[] | undefined): boolean {
  return !only || only.includes(name) || only.includes(address);
}

/** What one server has of some sets, and the serial of the zone there. */
export interface Picture {
  readonly serial: number | null;
  readonly sets: readonly (RrSet | null)[];
}

/** Asks one server. @throws DNS_NOT_AUTHORITATIVE, DNS_REFUSED, DNS_TSIG_*, DNS_UNREACHABLE, TOOL_MISSING, TOOL_FAILED */
export async function readSets(
  bind: Bind,
  server: Endpoint,
  zone: string,
  names: readonly SetName[],
  options: CallOptions = {},
): Promise<Picture> {
  const questions: Question[] = [...names, { name: zone, type: "SOA" }];
  const replies = await bind.query(server, questions, options);
  const soa = replies.at(-1);
  const isUnsure = server.key !== null && replies.some(({ status }) => status === "NOTAUTH");
  const fault = isUnsure ? await bind.probe(server, zone, options) : undefined;
  if (fault) throw tsigError(server, zone, fault);
  for (const reply of replies) requireAnswer(reply, server, zone);
  return {
    serial: serialOf(soa),
    sets: names.map((one, i) => setOf(replies[i], one)),
  };
}

/** The set in a reply; null when there is none. @throws DNS_RECORD_INVALID when the name is an alias */
function setOf(reply: Reply | undefined, { name, type }: SetName): RrSet | null {
  const own = (reply?.records ?? []).filter((record) => record.name === name);
  const alias = type === "CNAME" ? undefined : own.find((record) => record.type === "CNAME");
  if (alias) throw invalid(`${name} is an alias of ${alias.data}; an alias has no records of its own`);
  const records = own.filter((record) => record.type === type);
  const [first] = records;
  return first ? { ttl: first.ttl, data: sortedData(records.map(({ data }) => spelled(type, data))) } : null;
}

/* Names in data come back as they were written; we compare them in lower case. */
function spelled(type: string, data: string): string {
  return type === "TXT" ? data : data.toLowerCase();
}

/** Serial of a zone in a reply about its SOA. */
export function serialOf(reply: Reply | undefined): number | null {
  const [, , serial] = reply?.records.find(({ type }) => type === "SOA")?.data.split(/\s+/) ?? [];
  return serial === undefined ? null : Number(serial);
}

function requireAnswer({ status, authoritative }: Reply, server: Endpoint, zone: string): void {
  const details = { server: server.name, zone };
  if (status === "SERVFAIL")
    throw new DvError("DNS_UNREACHABLE", `${server.name} cannot answer for ${zone} (SERVFAIL).`, { details });
  if (status === "REFUSED" || !authoritative)
    throw new DvError("DNS_NOT_AUTHORITATIVE", `${server.name} does not answer for ${zone} (${status}).`, { details });
}

/** What a server says against a signature, as our error. */
export function tsigError(server: Endpoint, zone: string, { error, skewSeconds }: TsigFault): DvError {
  const details = { server: server.name, zone };
  if (error === "BADTIME")
    return new DvError("DNS_TSIG_BADTIME", `The clock of ${server.name} is ${skewText(skewSeconds)}.`, {
      details: { ...details, skewSeconds },
    });
  const code = error === "BADKEY" ? "DNS_TSIG_BADKEY" : "DNS_TSIG_BADSIG";
  return new DvError(code, `${server.name} does not take the key ${server.key?.name} (${error}).`, { details });
}

/** How far a clock is ahead, in words. */
function skewText(seconds: number | null): string {
  if (seconds === null) return "too far from this node's";
  return `${Math.abs(seconds)} s ${seconds < 0 ? "behind" : "ahead of"} this node's`;
}

/** Asks the primaries in turn until one answers. @throws what the last one threw */
export async function readPrimary(
  bind: Bind,
  view: DnsView,
  { zone, primaries }: Pick<ZoneServers, "zone" | "primaries">,
  names: readonly SetName[],
  options: CallOptions = {},
): Promise<Picture & { readonly server: string }> {
  let failure: unknown = new DvError("DNS_UNREACHABLE", `No primary of ${zone} answers.`);
  for (const server of primaries) {
    try {
      return { ...(await readSets(bind, view.endpoint(server), zone, names, options)), server: server.name };
    } catch (error) {
      if (toDvError(error).code !== "DNS_UNREACHABLE") throw error;
      failure = error;
    }
  }
  throw failure;
}

/** How every server stands to what is wanted. Never throws for what a server does. */
export async function compareServers(
  bind: Bind,
  view: DnsView,
  { zone, all }: Pick<ZoneServers, "zone" | "all">,
  wanted: readonly (SetName & { readonly set: RrSet | null })[],
  options: CallOptions = {},
): Promise<ServerAnswer[]> {
  return await Promise.all(
    all.map(async (server) => {
      const who = { server: server.name, role: server.role };
      try {
        const { serial, sets } = await readSets(bind, view.endpoint(server), zone, wanted, options);
        const off = wanted.findIndex(({ set }, i) => !sameSet(set, sets[i] ?? null));
        const odd = wanted[off];
        if (!odd) return { ...who, status: "same" as const, serial, detail: "" };
        const detail = `${odd.name} ${odd.type}: ${shownSet(sets[off] ?? null) ?? "none"}`;
        return { ...who, status: "different" as const, serial, detail };
      } catch (error) {
        const { code, message } = toDvError(error);
        const status = code === "DNS_UNREACHABLE" ? ("unreachable" as const) : ("refused" as const);
        return { ...who, status, serial: null, detail: message };
      }
    }),
  );
}
