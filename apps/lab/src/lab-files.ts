// SPDX-License-Identifier: Apache-2.0
/** The data folder of a local cluster: what is kept between runs, and what tells others that it runs. */
import { createHash, hkdfSync, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { NodeId, NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { createTrustSeeds, TrustSeeds } from "@debvisor/shared/bus/trust";
import { DvError } from "@debvisor/shared/errors";
import {
  createIdentity,
  nodePaths,
  readJsonFile,
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
  /** Whether it has credentials. */
  admitted: z.boolean(),
  /** Whether its nats-server belongs to the bus; set before it first starts, so that a run cut short is gone on with. */
  onBus: z.boolean(),
  ports: z.strictObject({ client: Port, cluster: Port, monitor: Port, helper: z.tuple([Port, Port, Port]) }),
});
export type LabNode = z.output<typeof LabNode>;

/** `cluster.json`. */
export const ClusterFile = z.strictObject({
  version: z.literal(1),
  cluster: z.string(),
  /** 256-bit cluster secret, base64. */
  secret: z.base64(),
  routePassword: z.string().min(32),
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
    trust: join(dataDir, "trust.json"),
    context: join(dataDir, "context.json"),
    lab: join(dataDir, "lab.json"),
    node: (id: string) => join(dataDir, "nodes", id),
  };
}

/** Reads the kept cluster; undefined when the folder holds none. @throws DATA_FOLDER_CORRUPT */
export function readCluster(dataDir: string): { cluster: ClusterFile; trust: TrustSeeds } | undefined {
  const paths = labPaths(dataDir);
  const cluster = readJsonFileIfPresent(paths.cluster, ClusterFile);
  if (!cluster) {
    if (existsSync(paths.trust))
      throw new DvError("DATA_FOLDER_CORRUPT", `${paths.cluster} is missing, but ${paths.trust} is there.`);
    return undefined;
  }
  const trust = readJsonFile(paths.trust, TrustSeeds);
  for (const node of cluster.nodes) {
    const found = readNode(paths.node(node.id));
    if (found.id !== node.id)
      throw new DvError("DATA_FOLDER_CORRUPT", `${paths.node(node.id)} belongs to node ${found.id}.`);
  }
  return { cluster, trust };
}

/** Makes the secrets of a new cluster; nodes are added with `addNode`. */
export function newCluster(port: number): { cluster: ClusterFile; trust: TrustSeeds } {
  const secret = randomBytes(32);
  return {
    cluster: {
      version: 1,
      cluster: createHash("sha256").update(secret).digest("hex").slice(0, 12),
      secret: secret.toString("base64"),
      routePassword: randomBytes(24).toString("hex"),
      port,
      adminToken: `dv_operator_${randomBytes(32).toString("base64url")}`,
      nodes: [],
    },
    trust: createTrustSeeds(),
  };
}

/** What of a host's root a lab node has from the start. */
const HOST_FOLDERS = ["etc", "home", "opt", "root", "srv", "tmp", "usr/local", "var/lib", "var/log"];

/** Sets up a node's folder with a new identity, as an installer would. */
export function addNode(
  dataDir: string,
  cluster: ClusterFile,
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
  const key = advertiseKey(cluster).toString("base64");
  writePrivateFile(paths.preseed, json({ version: 1, cluster: cluster.cluster, advertiseKey: key }));
  return { id, name, role, admitted: false, onBus: false, ports };
}

/** Keeps the cluster for the next run. */
export function saveCluster(dataDir: string, cluster: ClusterFile, trust: TrustSeeds): void {
  const paths = labPaths(dataDir);
  writePrivateFile(paths.trust, json(trust));
  writePrivateFile(paths.cluster, json(cluster));
}

/** Key with which members recognise each other on mDNS. */
export function advertiseKey(cluster: ClusterFile): Buffer {
  return Buffer.from(
    hkdfSync("sha256", Buffer.from(cluster.secret, "base64"), cluster.cluster, "debvisor mdns tag", 32),
  );
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

/** JSON as it is written to files: two spaces, newline at the end. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
