// SPDX-License-Identifier: Apache-2.0
/**
 * The records of a DebVisor instance on mDNS: written for our own, read from anyone's. Everything read here was sent by an
 * unauthenticated stranger: it is parsed by a schema, bounded, and used for display and as a hint of an address only.
 */
import { isIPv4 } from "node:net";
import { NodeId } from "@debvisor/proto-events/primitives";
import { z } from "zod";
import { DvError } from "../errors.ts";
import { isPublishable, MAX_ADDRESSES } from "./mdns-interfaces.ts";

/** Service type with domain, as it stands in records. */
export const SERVICE_DOMAIN = "_debvisor._tcp.local";
/** A TXT record of this many bytes or more is refused: past 255 bytes a value, it vanishes without an error. */
export const TXT_LIMIT_BYTES = 400;
/** Records of one packet that are looked at; the rest is ignored. */
const MAX_RECORDS = 256;

const Hex16 = z.string().regex(/^[0-9a-f]{16}$/);
const Word = z.string().regex(/^[\x21-\x7e]{1,63}$/);

/** TXT keys of an instance. Keys unknown here are dropped, since a newer version may add some. */
export const MdnsTxt = z.object({
  v: z
    .string()
    .regex(/^[0-9]{1,3}$/)
    .describe("Version of the advertisement; 1."),
  salt: Hex16.describe("Drawn at each boot."),
  tag: Hex16.describe("Made of salt and the cluster's advertise key (mdns-tag.ts)."),
  nid: NodeId,
  st: z.enum(["joining", "ready", "leaving"]),
  role: z.string().regex(/^[a-z][a-z,-]{0,31}$/),
  ver: Word,
  host: Word,
});
export type MdnsTxt = z.output<typeof MdnsTxt>;

/** A record as multicast-dns encodes and decodes it. `flush`: the sender owns the name, older data of it is void. */
export interface MdnsRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly flush?: boolean;
  readonly data?: unknown;
}

/** What a packet said about one instance; fields that it did not mention are absent. */
export interface Observation {
  readonly instance: string;
  readonly gone: boolean;
  readonly txt?: MdnsTxt;
  readonly port?: number;
  /** Host name that the instance's addresses are filed under, lower case. */
  readonly target?: string;
}

/** What a packet said: instances, and addresses by host name and family. */
export interface PacketContent {
  readonly instances: readonly Observation[];
  readonly addresses: readonly { readonly target: string; readonly family: 4 | 6; readonly list: readonly string[] }[];
}

/** What a node says about itself. */
export interface Announcement {
  /** Node id. Must be unique: a second owner of the name would end the first one's record. */
  readonly instance: string;
  readonly port: number;
  readonly txt: MdnsTxt;
}

/** Refuses what mDNS would lose silently: values that are empty or odd, 400 bytes or more in all. @throws INVALID_ARGUMENT */
export function checkAnnouncement(announcement: Announcement): Announcement {
  const bytes = Object.entries(announcement.txt).reduce(
    (sum, [key, value]) => sum + 2 + Buffer.byteLength(key + value),
    0,
  );
  const parsed = MdnsTxt.safeParse(announcement.txt);
  const wrong = [
    ...(bytes >= TXT_LIMIT_BYTES ? [`TXT takes ${bytes} bytes, ${TXT_LIMIT_BYTES - 1} is the most`] : []),
    ...(parsed.success ? [] : [`TXT field ${parsed.error.issues[0]?.path.join(".") || "?"} is not allowed`]),
    ...(announcement.instance === announcement.txt.nid ? [] : ["the instance name has to be the node id"]),
    ...(Number.isInteger(announcement.port) && announcement.port > 0 && announcement.port < 65_536 ? [] : ["bad port"]),
  ];
  if (wrong.length > 0)
    throw new DvError("INVALID_ARGUMENT", `Cannot advertise: ${wrong.join("; ")}.`, { details: { issues: wrong } });
  return announcement;
}

/**
 * Our records. The host name in them is made of the instance name, not of the machine's: Avahi on the same machine owns
 * `<hostname>.local`, and two nodes of a local cluster share a machine.
 */
export function buildRecords(announcement: Announcement, addresses: readonly string[]): MdnsRecord[] {
  const { instance, port, txt } = announcement;
  const fqdn = `${instance}.${SERVICE_DOMAIN}`;
  const target = `${instance}.local`;
  const text = Object.entries(txt).map(([key, value]) => Buffer.from(`${key}=${value}`));
  return [
    { name: SERVICE_DOMAIN, type: "PTR", ttl: 28_800, data: fqdn },
    { name: fqdn, type: "SRV", ttl: 120, flush: true, data: { port, target } },
    { name: fqdn, type: "TXT", ttl: 4500, flush: true, data: text },
    { name: "_services._dns-sd._udp.local", type: "PTR", ttl: 4500, data: SERVICE_DOMAIN },
    ...addresses.map((data) => ({ name: target, type: isIPv4(data) ? "A" : "AAAA", ttl: 120, flush: true, data })),
  ];
}

/** Reads what a response says about DebVisor instances. Never throws; junk is left out. */
export function readPacket(packet: unknown): PacketContent {
  const records = recordsOf(packet);
  const found = new Map<string, Observation>();
  for (const record of records) {
    const seen = readRecord(record);
    if (seen) found.set(seen.instance, { gone: false, ...found.get(seen.instance), ...seen });
  }
  return { instances: [...found.values()], addresses: addressesOf(records) };
}

/** What one record says about one instance; undefined when it is about none. */
function readRecord({ name, type, ttl, data }: MdnsRecord): (Partial<Observation> & { instance: string }) | undefined {
  if (type === "PTR" && sameName(name, SERVICE_DOMAIN)) {
    const instance = instanceOf(data);
    return instance === undefined ? undefined : { instance, ...(ttl === 0 ? { gone: true } : {}) };
  }
  const instance = ttl === 0 ? undefined : instanceOf(name);
  if (instance === undefined) return undefined;
  if (type === "SRV") return { instance, ...readService(data) };
  return type === "TXT" ? { instance, ...readText(data, instance) } : undefined;
}

function recordsOf(packet: unknown): MdnsRecord[] {
  const { answers, additionals } = (packet ?? {}) as { answers?: unknown; additionals?: unknown };
  const lists = [answers, additionals].flatMap((list) => (Array.isArray(list) ? list.slice(0, MAX_RECORDS) : []));
  return (lists as unknown[]).slice(0, MAX_RECORDS).filter((one): one is MdnsRecord => {
    const record = one as MdnsRecord | null;
    return (
      typeof record === "object" &&
      record !== null &&
      typeof record.name === "string" &&
      typeof record.type === "string"
    );
  });
}

function sameName(a: string, b: string): boolean {
  return a.length === b.length && a.toLowerCase() === b;
}

/** The node id in front of the service domain; undefined for anything that is no instance of ours. */
function instanceOf(name: unknown): string | undefined {
  if (typeof name !== "string" || name.length !== 17 + SERVICE_DOMAIN.length) return undefined;
  const lower = name.toLowerCase();
  const instance = lower.slice(0, 16);
  return lower.slice(16) === `.${SERVICE_DOMAIN}` && NodeId.safeParse(instance).success ? instance : undefined;
}

function readService(data: unknown): { port: number; target: string } | undefined {
  const { port, target } = (data ?? {}) as { port?: unknown; target?: unknown };
  if (typeof port !== "number" || port < 1 || typeof target !== "string" || target.length > 255) return undefined;
  return { port, target: target.toLowerCase() };
}

function readText(data: unknown, instance: string): { txt: MdnsTxt } | undefined {
  const parts = Array.isArray(data) ? (data as unknown[]).slice(0, 32) : [];
  const pairs: [string, string][] = [];
  let bytes = 0;
  for (const part of parts) {
    if (!(part instanceof Uint8Array)) continue;
    bytes += part.length + 1;
    const text = Buffer.from(part).toString("utf8");
    const equals = text.indexOf("=");
    if (equals > 0) pairs.push([text.slice(0, equals), text.slice(equals + 1)]);
  }
  if (bytes >= TXT_LIMIT_BYTES) return undefined;
  const parsed = MdnsTxt.safeParse(Object.fromEntries(pairs));
  return parsed.success && parsed.data.nid === instance ? { txt: parsed.data } : undefined;
}

function addressesOf(records: readonly MdnsRecord[]): PacketContent["addresses"] {
  const lists = new Map<string, { target: string; family: 4 | 6; list: string[] }>();
  for (const { name, type, ttl, data } of records) {
    if ((type !== "A" && type !== "AAAA") || ttl === 0 || typeof data !== "string" || !isPublishable(data)) continue;
    const target = name.toLowerCase();
    const family = type === "A" ? 4 : 6;
    const entry = lists.get(`${family} ${target}`) ?? { target, family, list: [] };
    if (entry.list.length < MAX_ADDRESSES) entry.list.push(data);
    lists.set(`${family} ${target}`, entry);
  }
  return [...lists.values()];
}
