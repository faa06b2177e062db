// SPDX-License-Identifier: Apache-2.0
/** `host:port` as people and configuration write it, IPv6 in brackets (RFC 3986 §3.2.2). */
import { isIPv6 } from "node:net";
import { networkInterfaces } from "node:os";

/** A place to dial. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads `host`, `host:port`, `[IPv6]:port` or a bare IPv6 address; undefined for anything else. */
export function parseHostPort(text: string, defaultPort: number): HostPort | undefined {
  if (isIPv6(text)) return { host: text, port: defaultPort };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([A-Za-z0-9.-]{1,253}))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || (bracketed !== undefined && !isIPv6(bracketed))) return undefined;
  const port = digits === undefined ? defaultPort : Number(digits);
  return port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/** Writes it. */
export function hostPort(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Addresses of this machine that others may reach: no loopback, no link-local. IPv4 first. */
export function reachableAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const reachable = all.filter(({ internal, address }) => !internal && !/^(?:fe80:|169\.254\.)/.test(address));
  return reachable.sort((a, b) => Number(isIPv6(a.address)) - Number(isIPv6(b.address))).map(({ address }) => address);
}
