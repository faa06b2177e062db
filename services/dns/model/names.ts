// SPDX-License-Identifier: Apache-2.0
/**
 * Domain names as this service writes them: lower case, without the final dot (RFC 1035 §2.3.4, RFC 1123 §2.1). A name that is not
 * ASCII is refused instead of being converted: two conversions exist, and both sides must have meant the same one.
 */
import { DvError } from "@debvisor/shared/errors";

const MAX_NAME = 253;
const MAX_LABEL = 63;
const HOST_LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const DOMAIN_LABEL = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/;

/** A fault of what was asked for. */
export function invalid(message: string, details: Readonly<Record<string, unknown>> = {}): DvError {
  return new DvError("DNS_RECORD_INVALID", message, { details });
}

/** A domain name in our spelling; `host` refuses underscores. @throws DNS_RECORD_INVALID */
export function domainName(text: string, what: string, { host = false } = {}): string {
  const name = text.toLowerCase().replace(/\.$/, "");
  if ([...name].some((character) => character > "~"))
    throw invalid(`${what}: ${JSON.stringify(text)} is not ASCII; write its labels in the form xn--…`);
  if (name.length === 0) throw invalid(`${what}: an empty name`);
  if (name.length > MAX_NAME) throw invalid(`${what}: ${name.length} characters; a name has at most ${MAX_NAME}`);
  for (const label of name.split(".")) checkLabel(label, what, text, host);
  return name;
}

function checkLabel(label: string, what: string, text: string, host: boolean): void {
  const shown = JSON.stringify(text);
  if (label === "") throw invalid(`${what}: ${shown} has an empty label`);
  if (label.length > MAX_LABEL)
    throw invalid(`${what}: the label ${label.slice(0, 20)}… has ${label.length} characters; at most ${MAX_LABEL}`);
  if (host && label.includes("_")) throw invalid(`${what}: ${shown} has an underscore; names of hosts have none`);
  if (!(host ? HOST_LABEL : DOMAIN_LABEL).test(label))
    throw invalid(`${what}: ${shown} may have letters, digits and inner dashes only`);
}

/** Whether a name is the zone's own or one below it. */
export function isInZone(name: string, zone: string): boolean {
  return name === zone || name.endsWith(`.${zone}`);
}

/** The longest of the zones that a name is in. */
export function zoneOf(name: string, zones: readonly string[]): string | undefined {
  return zones.filter((zone) => isInZone(name, zone)).sort((a, b) => b.length - a.length)[0];
}

/** Name under which the PTR of an address stands (RFC 1035 §3.5, RFC 3596 §2.5). The address is in our spelling. */
export function reverseName(address: string): string {
  if (!address.includes(":")) return `${address.split(".").reverse().join(".")}.in-addr.arpa`;
  return `${[...hexOf(address)].reverse().join(".")}.ip6.arpa`;
}

/** The 32 hexadecimal digits of an IPv6 address. */
function hexOf(address: string): string {
  const [left = "", right] = address.split("::");
  const groups = (half: string | undefined) => (half ? half.split(":") : []);
  const head = groups(left);
  const tail = groups(right);
  const middle = right === undefined ? [] : Array<string>(8 - head.length - tail.length).fill("0");
  return [...head, ...middle, ...tail].map((group) => group.padStart(4, "0")).join("");
}
