// SPDX-License-Identifier: Apache-2.0
/** Makes the bus member of a node from the node's files. */
import type { Logger } from "../log.ts";
import { type Membership, type NodeFile, nodePaths, readCredential } from "../node-files.ts";
import { BusMember } from "./member.ts";

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
  return new BusMember({
    binary,
    dir: nodePaths(dir).nats,
    settings: { ...server, serverName: `${node.id}-${node.incarnation}`, clusterName: membership.cluster },
    systemCredential: readCredential(dir, "system", `system-${node.id}`),
    helperPorts,
    log,
    ...(onStart ? { onStart } : {}),
  });
}

/** Starts a member alone or among others, as its routes say. @throws NATS_SERVER_FAILED */
export async function startMember(member: BusMember): Promise<void> {
  if (member.settings.routes.length <= 1) await member.startAlone();
  else await member.join();
}
