// SPDX-License-Identifier: Apache-2.0
/**
 * Which nodes shall be registered as what, and what is to be done for it. Pure and level-triggered: asking again after it was done
 * answers with nothing.
 */
import type { NodeEntry } from "@debvisor/proto-events/discovery";
import type { DnsHost } from "@debvisor/proto-events/dns-hosts";
import { place } from "./change-set.ts";
import { usableAddresses } from "./host-records.ts";
import { domainName, zoneOf } from "./names.ts";

/** What a node should be registered as: its name in the cluster, in the zone, whatever the machine calls itself. */
export interface NodeWish {
  readonly node: string;
  readonly host: string;
  readonly zone: string;
  readonly addresses: readonly string[];
}

/** Something to do for one node. */
export interface HostTask extends Pick<NodeWish, "node" | "host" | "addresses"> {
  readonly verb: "register" | "deregister";
}

type Known = Pick<DnsHost, "host" | "kind" | "id" | "addresses">;

/** @throws DNS_RECORD_INVALID only where `standard` is no zone */
export function wishOf(node: NodeEntry, zones: readonly string[], standard: string): NodeWish {
  const { name, zone } = place(node.name, { zones, standard: domainName(standard, "zone"), given: undefined }, true);
  return { node: node.id, host: name, zone, addresses: usableAddresses(node.addresses).sort() };
}

/** What has to be done now. Removals come first: another node may have got the name or the address. */
export function dueTasks(wishes: readonly NodeWish[], hosts: readonly Known[], zones: readonly string[]): HostTask[] {
  const own = hosts.filter(({ kind, id }) => kind === "node" && id !== null);
  const isWished = ({ id, host }: Known) => wishes.some((wish) => wish.node === id && wish.host === host);
  // Without a primary nobody could take the records away; forgetting them would leave them for good.
  const gone = own.filter((one) => !isWished(one) && zoneOf(one.host, zones) !== undefined);
  const due = wishes.filter(
    (wish) => zones.includes(wish.zone) && wish.addresses.length > 0 && !isRegistered(wish, own),
  );
  return [
    ...gone.map(({ id, host }) => ({ verb: "deregister" as const, node: id ?? "", host, addresses: [] })),
    ...due.map(({ node, host, addresses }) => ({ verb: "register" as const, node, host, addresses })),
  ];
}

function isRegistered({ node, host, addresses }: NodeWish, hosts: readonly Known[]): boolean {
  const found = hosts.find((one) => one.id === node && one.host === host);
  return found !== undefined && [...found.addresses].sort().join(" ") === addresses.join(" ");
}

/** Why a node is not registered although no attempt failed. */
export function waitsFor(
  { zone, addresses }: NodeWish,
  zones: readonly string[],
): { readonly code: string | null; readonly detail: string } {
  if (!zones.includes(zone))
    return {
      code: "DNS_SERVER_MISSING",
      detail: `no primary for ${zone}: dvctl dns servers add NAME --address IP --role primary --zone ${zone} --key FILE`,
    };
  if (addresses.length === 0) return { code: null, detail: "it has no address but loopback and link-local ones" };
  return { code: null, detail: "it is about to be registered" };
}
