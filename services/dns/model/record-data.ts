// SPDX-License-Identifier: Apache-2.0
/**
 * Values of records in one spelling, that of dig 9.18: what was typed and what a server answers can then be compared as text
 * (RFC 1035 §5.1, RFC 5952 for IPv6).
 */
import type { RecordType } from "@debvisor/proto-events/dns-data";
import { z } from "zod";
import { domainName, invalid, isInZone } from "./names.ts";

/** A set of records: time to live in seconds and values, sorted. */
export interface RrSet {
  readonly ttl: number;
  readonly data: readonly string[];
}

const IPV4 = z.ipv4();
const IPV6 = z.ipv6();
const MAX_STRING = 255;
const MAX_TXT = 4_000;

/** An IPv4 or IPv6 address in its short form. @throws DNS_RECORD_INVALID */
export function address(text: string): { readonly address: string; readonly type: "A" | "AAAA" } {
  if (IPV4.safeParse(text).success) return { address: text, type: "A" };
  if (!IPV6.safeParse(text).success) throw invalid(`${JSON.stringify(text)} is no IPv4 or IPv6 address`);
  return { address: new URL(`http://[${text}]`).hostname.slice(1, -1), type: "AAAA" };
}

/** A value as dig prints it. `zone` completes names without a dot. @throws DNS_RECORD_INVALID */
export function canonicalData(type: RecordType, text: string, zone: string): string {
  if (/[\r\n\0]/.test(text)) throw invalid(`${type}: a value has no line breaks`);
  switch (type) {
    case "A":
    case "AAAA": {
      const found = address(text.trim());
      if (found.type !== type) throw invalid(`${text} is no address of an ${type} record`);
      return found.address;
    }
    case "CNAME":
    case "PTR":
      return target(text.trim(), zone, type);
    case "MX": {
      const [preference, host] = numbered(type, text, 1);
      return `${preference} ${target(host, zone, type)}`;
    }
    case "SRV": {
      const [numbers, host] = numbered(type, text, 3);
      return `${numbers} ${target(host, zone, type)}`;
    }
    case "TXT":
      return canonicalTxt(text);
  }
}

/** `10 mail`: the numbers (0 to 65535), and what follows. */
function numbered(type: string, text: string, count: number): [string, string] {
  const words = text.trim().split(/\s+/);
  const numbers = words.slice(0, count);
  const isNumber = (word: string) => /^\d{1,5}$/.test(word) && Number(word) <= 65_535;
  if (words.length !== count + 1 || !numbers.every(isNumber))
    throw invalid(`${type}: ${JSON.stringify(text)} is not ${count} number${count === 1 ? "" : "s"} and a name`);
  return [numbers.map(Number).join(" "), words[count] ?? ""];
}

function target(text: string, zone: string, type: string): string {
  if (text === "." && type === "SRV") return ".";
  const name = domainName(text, type);
  const isWhole = text.endsWith(".") || name.includes(".") || isInZone(name, zone);
  return `${isWhole ? name : domainName(`${name}.${zone}`, type)}.`;
}

/** Text in quotes is taken as one or several strings; without quotes it is one, cut where a string may not be longer. */
function canonicalTxt(text: string): string {
  const strings = text.trimStart().startsWith('"') ? quotedStrings(text) : cut(Buffer.from(text, "utf8"));
  const bytes = strings.reduce((sum, { length }) => sum + length, 0);
  if (bytes > MAX_TXT) throw invalid(`TXT: ${bytes} bytes; at most ${MAX_TXT}`);
  if (strings.some(({ length }) => length > MAX_STRING)) throw invalid(`TXT: a string has at most ${MAX_STRING} bytes`);
  return strings.map(quoted).join(" ");
}

function cut(bytes: Buffer): Buffer[] {
  const count = Math.max(1, Math.ceil(bytes.length / MAX_STRING));
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * MAX_STRING, (i + 1) * MAX_STRING));
}

function quotedStrings(text: string): Buffer[] {
  const strings: Buffer[] = [];
  const rest = text.trim().replaceAll(/"((?:[^"\\]|\\.)*)"\s*/gs, (_all, inner: string) => {
    strings.push(bytesOf(inner));
    return "";
  });
  if (rest !== "") throw invalid(`TXT: ${JSON.stringify(text)} has text outside of its quotes`);
  return strings;
}

/** `\"`, `\\` and `\228` (RFC 1035 §5.1). */
function bytesOf(text: string): Buffer {
  const parts = [...text.matchAll(/\\(\d{3})|\\(.)|([^\\]+)/gs)];
  return Buffer.concat(
    parts.map(([, code, character, plain]) => {
      if (code === undefined) return Buffer.from(character ?? plain ?? "", "utf8");
      if (Number(code) > 255) throw invalid(`TXT: \\${code} is no byte`);
      return Buffer.from([Number(code)]);
    }),
  );
}

function quoted(bytes: Buffer): string {
  const shown = [...bytes].map((byte) => {
    if (byte === 0x22 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    return byte < 0x20 || byte > 0x7e ? `\\${String(byte).padStart(3, "0")}` : String.fromCharCode(byte);
  });
  return `"${shown.join("")}"`;
}

/** Values sorted, each once. */
export function sortedData(data: readonly string[]): string[] {
  return [...new Set(data)].sort();
}

/** Whether two sets are the same, time to live included; null: there is none. */
export function sameSet(a: RrSet | null, b: RrSet | null): boolean {
  if (a === null || b === null) return a === b;
  return a.ttl === b.ttl && sameData(a, b);
}

/** Whether two sets have the same values. */
export function sameData(a: RrSet | null, b: RrSet | null): boolean {
  return (a?.data.join("\n") ?? "") === (b?.data.join("\n") ?? "");
}

/** A set for people: `300 10.0.0.1, 10.0.0.2`; null when there is none. */
export function shownSet(set: RrSet | null): string | null {
  return set && `${set.ttl} ${set.data.join(", ")}`;
}
