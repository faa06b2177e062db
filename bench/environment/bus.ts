// SPDX-License-Identifier: Apache-2.0
/**
 * A cluster of one server for the bench: a bus of its own with all streams, and the folder of the one node whose services run
 * against it, written by the same code that the local cluster uses.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureStreams, openAdmin } from "@debvisor/shared/bus/admin";
import { connectBus } from "@debvisor/shared/bus/connect";
import { type CredentialIssuer, createIssuer } from "@debvisor/shared/bus/trust";
import { parsePreseed } from "@debvisor/shared/join/preseed";
import { silentLogger } from "@debvisor/shared/log";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { BusMember } from "@debvisor/shared/nats-server/member";
import { nodePaths, readCredential, readJsonFile, readMembership, ServerSecrets } from "@debvisor/shared/node-files";
import { addNode, labPaths, newCluster } from "../../apps/lab/src/lab-files.ts";
import { preseedFile, setUpNode } from "../../apps/lab/src/node-setup.ts";
import { freePorts } from "../../apps/lab/src/ports.ts";
import { openMachine } from "../../services/discovery/joining/machine.ts";
import { found } from "../../services/discovery/joining/take-up.ts";
import { NATS_CACHE_DIR } from "../../tools/paths.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

/** A running bus with one node's folder. */
export interface BenchBus extends AsyncDisposable {
  readonly servers: readonly string[];
  readonly issuer: CredentialIssuer;
  /** The server node's folder. */
  readonly nodeDir: string;
  readonly nodeId: string;
  /** Folder for logs; removed at the end. */
  readonly logDir: string;
  readonly gatewayUrl: string;
  readonly token: string;
  readonly natsPid: number | undefined;
  stop(): Promise<void>;
}

/**
 * Limits that a load generator would run into, raised or lifted but still counted; times for agents that send heartbeats
 * rarely. Keys that are not named keep their defaults.
 */
const SETTINGS = {
  gateway: "rates: { read: 100000000 }\nevents: { perPrincipal: 0 }\n",
  discovery: "mdns: false\nsuspectAfterMs: 600000\nlostAfterMs: 3600000\ncheckEveryMs: 10000\n",
};

/** Starts the bus; takes about a second. @throws NATS_SERVER_MISSING, NATS_SERVER_FAILED */
export async function startBenchBus(): Promise<BenchBus> {
  const dataDir = mkdtempSync(join(tmpdir(), "dv-bench-"));
  const binary = (await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined })).path;
  const [port = 0, client = 0, cluster = 0, monitor = 0, a = 0, b = 0, c = 0, joinPort = 0] = await freePorts(8);
  const file = newCluster(port, 1);
  const ports = { client, cluster, monitor, helper: [a, b, c] as [number, number, number], join: joinPort };
  const node = addNode(dataDir, "bench-1", "server", ports);
  file.nodes = [node];
  setUpNode(dataDir, file, node, binary);
  const nodeDir = labPaths(dataDir).node(node.id);
  const preseed = parsePreseed(readFileSync(preseedFile(nodeDir), "utf8"));
  await found(openMachine(nodeDir, preseed), { cluster: file.cluster, formation: "0".repeat(32), servers: 1 });
  // The bare paths that everything is compared with speak plainly, so this bus does as well.
  rmSync(join(nodeDir, "tls"), { recursive: true });
  const { trust } = readJsonFile(nodePaths(nodeDir).secrets, ServerSecrets);
  for (const [service, text] of Object.entries(SETTINGS))
    writeFileSync(join(nodePaths(nodeDir).etc, `${service}.yaml`), text);
  const logDir = join(dataDir, "logs");
  mkdirSync(logDir);
  let member: BusMember | undefined;
  const stop = async () => {
    forget();
    await member?.stop();
    rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 });
  };
  const forget = stopOnSignal(stop);
  try {
    member = createMember(nodeDir, node.id, binary);
    await member.startAlone();
    const servers = [`127.0.0.1:${client}`];
    await createStreams(servers, nodeDir, node.id);
    return {
      servers,
      issuer: createIssuer(trust),
      nodeDir,
      nodeId: node.id,
      logDir,
      gatewayUrl: `http://127.0.0.1:${port}`,
      token: file.adminToken,
      get natsPid() {
        return member?.pid;
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function createMember(nodeDir: string, nodeId: string, binary: string): BusMember {
  const membership = readMembership(nodeDir);
  if (!membership?.server) throw new Error("the bench's node is no server");
  const { helperPorts, host, port, clusterPort, monitorPort, routes, routePassword, trust } = membership.server;
  return new BusMember({
    binary,
    dir: nodePaths(nodeDir).nats,
    settings: {
      serverName: `${nodeId}-1`,
      clusterName: membership.cluster,
      host,
      port,
      clusterPort,
      monitorPort,
      routes,
      routePassword,
      trust,
    },
    systemCredential: readCredential(nodeDir, "system", `system-${nodeId}`),
    helperPorts,
    log: silentLogger(),
  });
}

async function createStreams(servers: readonly string[], nodeDir: string, nodeId: string): Promise<void> {
  const admin = await connectBus({
    servers,
    credential: readCredential(nodeDir, "stream-admin", `stream-admin-${nodeId}`),
    origin: "core",
    node: { id: nodeId, name: "bench-1" },
    version: "0.1.0",
    log: silentLogger(),
  });
  try {
    await ensureStreams(await openAdmin(admin.connection));
  } finally {
    await admin.close();
  }
}
