// SPDX-License-Identifier: Apache-2.0
/** The data folder of a local cluster: what is kept between runs, and what tells others that it runs. */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { NodeId, NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import {
  createIdentity,
  json,
  nodePaths,
  readJsonFileIfPresent,
  readNode,
  writePrivateFile,
} from "@debvisor/shared/node-files";
import { z } from "zod";

const Port = z.number().int().min(1).max(65535);

/** A node of the local cluster, as the launcher knows it. */
export const LabNode = z.strictObject({
  id: NodeId,
  name: NodeName,
  role: NodeRole,
  /** Kept from run to run: the others know them. */
  ports: z.strictObject({
    client: Port,
    cluster: Port,
    monitor: Port,
    helper: z.tuple([Port, Port, Port]),
    join: Port,
  }),
});
export type LabNode = z.output<typeof LabNode>;

/** `cluster.json`. */
export const ClusterFile = z.strictObject({
  version: z.literal(1),
  cluster: z.string(),
  /** 256-bit cluster secret, base64. */
  secret: z.base64(),
  /** How many servers it was declared to have when it was founded. */
  servers: z.union([z.literal(1), z.literal(3), z.literal(5)]),
  port: Port,
  adminToken: z.string(),
  nodes: z.array(LabNode).min(1),
});
export type ClusterFile = z.output<typeof ClusterFile>;

/** `lab.json`, there while the launcher runs. */
export const LabFile = z.object({ version: z.literal(1), pid: z.number().int(), socket: z.string() });

/** Paths inside the data folder. */
export function labPaths(dataDir: string) {
  return {
    cluster: join(dataDir, "cluster.json"),
    context: join(dataDir, "context.json"),
    lab: join(dataDir, "lab.json"),
    nodes: join(dataDir, "nodes"),
    node: (id: string) => join(dataDir, "nodes", id),
  };
}

/** Reads the kept cluster; undefined when the folder holds none. @throws DATA_FOLDER_CORRUPT */
export function readCluster(dataDir: string): ClusterFile | undefined {
  const paths = labPaths(dataDir);
  const cluster = readJsonFileIfPresent(paths.cluster, ClusterFile);
  if (!cluster) {
    if (existsSync(paths.nodes))
      throw new DvError("DATA_FOLDER_CORRUPT", `${paths.cluster} is missing, but ${paths.nodes} is there.`);
    return undefined;
  }
  for (const node of cluster.nodes) {
    const found = readNode(paths.node(node.id));
    if (found.id !== node.id)
      throw new DvError("DATA_FOLDER_CORRUPT", `${paths.node(node.id)} belongs to node ${found.id}.`);
  }
  return cluster;
}

/** Makes the secrets of a new cluster; nodes are added with `addNode`. */
export function newCluster(port: number, servers: ClusterFile["servers"]): ClusterFile {
  const secret = randomBytes(32);
  return {
    version: 1,
    cluster: createHash("sha256").update(secret).digest("hex").slice(0, 12),
    secret: secret.toString("base64"),
    servers,
    port,
    adminToken: `dv_operator_${randomBytes(32).toString("base64url")}`,
    nodes: [],
  };
}

/** What of a host's root a lab node has from the start. */
const HOST_FOLDERS = ["etc", "home", "opt", "root", "srv", "tmp", "usr/local", "var/lib", "var/log"];

/** Sets up a node's folder with a new identity, as an installer would. */
export function addNode(
  dataDir: string,
  name: string,
  role: z.output<typeof NodeRole>,
  ports: LabNode["ports"],
): LabNode {
  const { id, pem } = createIdentity();
  const paths = nodePaths(labPaths(dataDir).node(id));
  writePrivateFile(paths.identity, pem);
  for (const folder of HOST_FOLDERS) mkdirSync(join(paths.dir, "root", folder), { recursive: true });
  mkdirSync(paths.etc, { recursive: true });
  writePrivateFile(
    paths.node,
    json({ version: 1, id, name, roles: [role], incarnation: 1, root: join(paths.dir, "root") }),
  );
  return { id, name, role, ports };
}

/** Keeps the cluster for the next run. */
export function saveCluster(dataDir: string, cluster: ClusterFile): void {
  writePrivateFile(labPaths(dataDir).cluster, json(cluster));
}

/** Server nodes are 1, 3 or 5 (DESIGN.md 2): the most that the number of nodes allows. */
export function serverCount(nodes: number): 1 | 3 | 5 {
  if (nodes >= 5) return 5;
  return nodes >= 3 ? 3 : 1;
}

/** Process id of the launcher that uses the folder now; undefined when none does. */
export function runningLauncher(dataDir: string): number | undefined {
  let pid: number;
  try {
    pid = LabFile.parse(JSON.parse(readFileSync(labPaths(dataDir).lab, "utf8"))).pid;
    if (pid === process.pid) return undefined;
    // A number that another program got meanwhile must not lock the folder for ever.
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return /apps\/lab\/(?:bin\/start\.cjs|src\/main\.ts)/.test(command) ? pid : undefined;
  } catch {
    return undefined;
  }
}
