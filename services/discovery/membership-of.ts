// SPDX-License-Identifier: Apache-2.0
/** What a member's files say, derived from the membership: which servers there are, whom to obey, by what to check signatures. */
import { hkdfSync } from "node:crypto";
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";
import { commandSigners, type RevokedUsers, serverTrust, verifierTrust } from "@debvisor/shared/bus/trust";
import { hostPort } from "@debvisor/shared/join/addresses";
import type { Membership, ServerSecrets } from "@debvisor/shared/node-files";
import { servingMembers } from "./model/membership.ts";

/** Key with which members recognise each other on mDNS; 32 bytes, derived from the cluster secret. */
export function advertiseKeyOf({ secret, cluster }: Pick<ServerSecrets, "secret" | "cluster">): Buffer {
  return Buffer.from(hkdfSync("sha256", Buffer.from(secret, "base64"), cluster, "debvisor mdns tag", 32));
}

/** Clocks of servers may differ by this much: one that is ahead may have signed a JWT "after" the removal. Seconds. */
const SKEW_S = 300;

/** What the bus has to refuse of a removed member; `at` in seconds since 1970. Undefined for one that belongs. */
export function revocationOf({ busKey, removed }: Member): { publicKey: string; at: number } | undefined {
  return removed ? { publicKey: busKey, at: Math.ceil(Date.parse(removed.at) / 1_000) + SKEW_S } : undefined;
}

/** Users of the bus whose credentials count no more: those of removed members. */
export function revokedUsers(members: ReadonlyMap<string, Member>): { publicKey: string; at: number }[] {
  return [...members.values()].flatMap((member) => revocationOf(member) ?? []);
}

/** The same with the users of core parts that a rescue made void. */
export function revokedBy(
  members: ReadonlyMap<string, Member>,
  { rescuedAt }: Pick<ClusterEntry, "rescuedAt">,
): RevokedUsers {
  const coreUntil = rescuedAt === undefined ? undefined : Math.floor(Date.parse(rescuedAt) / 1_000);
  return { users: revokedUsers(members), coreUntil };
}

/** Where a server listens, besides what everybody may know of it. */
export interface LocalPorts {
  readonly monitor: number;
  readonly helper: readonly [number, number, number];
}

/**
 * The membership file of a member. `local` on servers only. A server that is active uses its own nats-server first; one that has yet
 * to join uses those of the others meanwhile.
 */
export async function membershipOf(
  member: Member,
  members: ReadonlyMap<string, Member>,
  cluster: Pick<ClusterEntry, "cluster" | "formation" | "rescuedAt">,
  secrets: ServerSecrets,
  local: LocalPorts | undefined,
): Promise<Membership> {
  const serving = servingMembers(members, member.id);
  const others = serving.filter(({ id }) => id !== member.id);
  const own = member.endpoints ? [member.endpoints] : [];
  const theirs = others.map(({ endpoints }) => endpoints);
  const nearest = member.state === "active" ? [...own, ...theirs] : [...theirs, ...own];
  const everyone = [...theirs, ...own];
  return {
    version: 1,
    cluster: cluster.cluster,
    formation: cluster.formation,
    advertiseKey: advertiseKeyOf(secrets).toString("base64"),
    busServers: nearest.map(({ host, client }) => hostPort(host, client)),
    joinServers: serving.map(({ endpoints, key }) => ({ host: endpoints.host, port: endpoints.join, spki: key })),
    commandSigners: commandSigners(secrets.trust),
    trust: await verifierTrust(secrets.trust),
    ...(member.endpoints && local
      ? {
          server: {
            host: member.endpoints.host,
            port: member.endpoints.client,
            clusterPort: member.endpoints.cluster,
            monitorPort: local.monitor,
            joinPort: member.endpoints.join,
            helperPorts: [...local.helper],
            routes: everyone.map(({ host, cluster: port }) => hostPort(host, port)),
            routePassword: secrets.routePassword,
            trust: await serverTrust(secrets.trust, revokedBy(members, cluster)),
          },
        }
      : {}),
  };
}
