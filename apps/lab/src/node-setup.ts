// SPDX-License-Identifier: Apache-2.0
/**
 * What an installer would put on each machine of the local cluster: a preseed file, and settings that follow from all of them being on
 * loopback. From then on the nodes find each other, prove themselves and join like machines on a LAN (DESIGN.md 7).
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { stringify } from "yaml";
import { type ClusterFile, type LabNode, labPaths } from "./lab-files.ts";

export const HOST = "127.0.0.1";

/** The preseed file of a node of the local cluster. */
export function preseedFile(nodeDir: string): string {
  return join(nodePaths(nodeDir).etc, "preseed.yaml");
}

/** Writes preseed and presets of a node. A file in the node's `etc` wins over the presets. */
export function setUpNode(dataDir: string, cluster: ClusterFile, node: LabNode, natsBinary: string): void {
  const dir = labPaths(dataDir).node(node.id);
  const paths = nodePaths(dir);
  mkdirSync(paths.etc, { recursive: true });
  const gateway = gatewayPort(cluster, node);
  const { client: bus, cluster: routes, monitor, helper, join: joinPort } = node.ports;
  const [founder] = cluster.nodes;
  writePrivateFile(
    preseedFile(dir),
    stringify({
      cluster: cluster.cluster,
      secret: cluster.secret,
      servers: cluster.servers,
      founder: founder?.name,
      name: node.name,
      role: node.role,
      interfaces: [HOST],
      listen: HOST,
      ports: { bus, cluster: routes, monitor, helper, join: joinPort, gateway },
    }),
  );
  const [, id = "", secret = ""] = /^dv_([^_]+)_(.+)$/.exec(cluster.adminToken) ?? [];
  const hash = createHash("sha256").update(secret).digest("hex");
  const presets = {
    gateway: {
      host: HOST,
      port: gateway,
      bootstrapTokens: [{ id, name: "local administrator", role: "admin", hash }],
    },
    // A local cluster takes nodes for as long as it lives: whoever can write its folder has every secret of it anyway.
    discovery: { interfaces: [HOST], joinPort, unattendedHours: 8_760 },
    "node-agent": { natsServerPath: natsBinary },
  };
  for (const [service, values] of Object.entries(presets)) writePrivateFile(paths.presets(service), stringify(values));
}

/** Port of a node's gateway: the base port and the node's place in the list. */
export function gatewayPort(cluster: ClusterFile, node: LabNode): number {
  return cluster.port + cluster.nodes.findIndex(({ id }) => id === node.id);
}
