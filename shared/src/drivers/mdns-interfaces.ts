// SPDX-License-Identifier: Apache-2.0
/** Which interfaces mDNS uses, what a node says about itself on each, and which senders count as neighbours there. */
import { isIP, isIPv4 } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";

/** Interfaces of the host as `os.networkInterfaces` returns them. */
export type HostInterfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** An interface that mDNS runs on: one IPv4 address of it. */
export interface MdnsInterface {
  readonly name: string;
  readonly address: string;
  readonly netmask: string;
  readonly loopback: boolean;
}

/** Most addresses that a record carries; more would not fit one packet. */
export const MAX_ADDRESSES = 16;

/**
 * Resolves interface names and IPv4 addresses. An empty list means every interface that is not internal. What does not
 * exist (yet) is in `missing`; an interface given by name that has no IPv4 address is missing too.
 */
export function resolveInterfaces(
  wanted: readonly string[],
  host: HostInterfaces = networkInterfaces(),
): { readonly found: readonly MdnsInterface[]; readonly missing: readonly string[] } {
  const all = ipv4Of(host);
  if (wanted.length === 0) return { found: onePerInterface(all.filter(({ loopback }) => !loopback)), missing: [] };
  const found = new Map<string, MdnsInterface>();
  const missing: string[] = [];
  for (const want of wanted) {
    const match = isIPv4(want) ? byAddress(want, all) : all.find(({ name }) => name === want);
    if (match) found.set(match.address, match);
    else missing.push(want);
  }
  return { found: [...found.values()], missing };
}

/**
 * Addresses to publish on one interface: its own first, then every other of the node, IPv4 and IPv6. On the loopback only
 * its own, because the others would lead away from it. Link-local IPv6 addresses mean nothing without a scope and stay out.
 */
export function addressesFor(at: MdnsInterface, host: HostInterfaces = networkInterfaces()): readonly string[] {
  if (at.loopback) return [at.address];
  const usable = (info: NetworkInterfaceInfo) => !info.internal && isPublishable(info.address);
  const own = (host[at.name] ?? []).filter(usable).map(({ address }) => address);
  const others = Object.values(host).flatMap((infos) => (infos ?? []).filter(usable).map(({ address }) => address));
  return [...new Set([at.address, ...own, ...others])].slice(0, MAX_ADDRESSES);
}

/** True for an IP address that may stand in a record: no link-local IPv6, nothing unspecified or multicast. */
export function isPublishable(address: string): boolean {
  if (isIP(address) === 0 || address.includes("%")) return false;
  if (isIPv4(address)) return address !== "0.0.0.0" && Number(address.split(".")[0]) < 224;
  return address !== "::" && !/^(fe[89ab]|ff)/i.test(address);
}

/**
 * True when a sender is on the interface's own network (RFC 6762 §11). Needed beyond security: Linux delivers a group's
 * packets of every interface to each socket bound to 0.0.0.0, so the loopback would hear the LAN.
 */
export function isOnLink(at: MdnsInterface, sender: string): boolean {
  if (!isIPv4(sender)) return false;
  const mask = toNumber(at.netmask);
  return ((toNumber(sender) ^ toNumber(at.address)) & mask) === 0;
}

function ipv4Of(host: HostInterfaces): MdnsInterface[] {
  return Object.entries(host).flatMap(([name, infos]) =>
    (infos ?? [])
      .filter(({ family }) => family === "IPv4")
      .map(({ address, netmask, internal }) => ({ name, address, netmask, loopback: internal })),
  );
}

/** Two IPv4 addresses of one interface share its group membership; a second instance there would only answer twice. */
function onePerInterface(all: readonly MdnsInterface[]): MdnsInterface[] {
  return [...new Map(all.toReversed().map((one) => [one.name, one])).values()].toReversed();
}

/** The whole of 127.0.0.0/8 is local although the interface lists one address of it. */
function byAddress(want: string, all: readonly MdnsInterface[]): MdnsInterface | undefined {
  const exact = all.find(({ address }) => address === want);
  const loopback = want.startsWith("127.") ? all.find((one) => one.loopback && isOnLink(one, want)) : undefined;
  return exact ?? (loopback && { ...loopback, address: want });
}

function toNumber(address: string): number {
  return address.split(".").reduce((number, part) => (number << 8) | Number(part), 0);
}
