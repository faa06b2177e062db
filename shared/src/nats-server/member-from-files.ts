// SPDX-License-Identifier: Apache-2.0
/** Makes the bus member of a node from the node's files. */
import { hostPort } from "../join/addresses.ts";
import type { Logger } from "../log.ts";
import { busTls, type Membership, type NodeFile, nodePaths, readCredential } from "../node-files.ts";
import { BusMember, type ServerChanges } from "./member.ts";

/** The member of a server node; undefined on a worker, which has no nats-server. @throws DATA_FOLDER_CORRUPT */
export function memberFromFiles(
  dir: string,
  node: NodeFile,
  membership: Membership,
  binary: string,
  log: Logger,
  onStart?: (pid: number) => void,
): BusMember | undefined {
  if (!membership.server) return undefined;
  const { helperPorts, ...server } = membership.server;
  const paths = nodePaths(dir);
  return new BusMember({
    binary,
    dir: paths.nats,
    settings: {
      ...server,
      serverName: `${node.id}-${node.incarnation}`,
      clusterName: membership.cluster,
      ...(busTls(dir) ? { tls: paths.tls } : {}),
    },
    others: serverChanges(membership.server, membership.busServers).others,
    systemCredential: readCredential(dir, "system", `system-${node.id}`),
    helperPorts,
    log,
    ...(onStart ? { onStart } : {}),
  });
}

/** What of a membership a running member takes up. */
export function serverChanges(
  server: NonNullable<Membership["server"]>,
  busServers: Membership["busServers"],
): ServerChanges {
  const { host, port, routes, routePassword, trust } = server;
  return { routes, routePassword, trust, others: busServers.filter((other) => other !== hostPort(host, port)) };
}

/** Starts a member alone or among others, as its routes say. @throws NATS_SERVER_FAILED */
export async function startMember(member: BusMember): Promise<void> {
  if (member.settings.routes.length <= 1) await member.startAlone();
  else await member.join();
}
