// SPDX-License-Identifier: Apache-2.0
/**
 * The local cluster's way of admitting a node: whoever runs the launcher owns all nodes, so it writes membership and
 * credentials into the node's folder. Joining over the network (DESIGN.md 7) will write the same files.
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { CONTRACTS, contractsOf } from "@debvisor/proto-events/registry";
import {
  commandSigners,
  createIssuer,
  type ServerTrust,
  serverTrust,
  type TrustSeeds,
  verifierTrust,
} from "@debvisor/shared/bus/trust";
import { hasFormed } from "@debvisor/shared/nats-server/member";
import { type Membership, nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { stringify } from "yaml";
import { advertiseKey, type ClusterFile, json, type LabNode, labPaths } from "./lab-files.ts";

const HOST = "127.0.0.1";

/** Writes what admitted nodes need. */
export class Admission {
  readonly #dataDir: string;
  readonly #trust: TrustSeeds;
  readonly #natsBinary: string;
  #serverTrust: Promise<ServerTrust> | undefined;

  constructor(dataDir: string, trust: TrustSeeds, natsBinary: string) {
    this.#dataDir = dataDir;
    this.#trust = trust;
    this.#natsBinary = natsBinary;
  }

  /** Gives a node its credentials; once is enough, they do not depend on who else is there. */
  async issueCredentials(node: LabNode): Promise<void> {
    const issuer = createIssuer(this.#trust);
    const paths = nodePaths(labPaths(this.#dataDir).node(node.id));
    const write = ([purpose, { creds }]: readonly [string, { creds: string }]) =>
      writePrivateFile(paths.credential(purpose), creds);
    write(["node", await issuer.forNode(node.id)]);
    if (node.role !== "server") return;
    write(["system", await issuer.forSystem(node.id)]);
    write(["stream-admin", await issuer.forStreamAdmin(node.id)]);
    for (const { service, uses } of CONTRACTS) {
      if (!uses) continue;
      write([service, await issuer.forCore(service, node.id, contractsOf(service))]);
    }
  }

  /** Writes membership and presets of every admitted node, as the list of servers is now. */
  async writeMemberships(cluster: ClusterFile): Promise<void> {
    const admitted = cluster.nodes.filter((node) => node.admitted);
    for (const node of admitted) {
      const paths = nodePaths(labPaths(this.#dataDir).node(node.id));
      writePrivateFile(paths.membership, json(await this.#membership(cluster, node, admitted)));
      this.#writePresets(cluster, node);
    }
  }

  async #membership(cluster: ClusterFile, node: LabNode, admitted: readonly LabNode[]): Promise<Membership> {
    this.#serverTrust ??= serverTrust(this.#trust);
    const servers = admitted.filter((other) => other.onBus);
    const others = servers.filter((other) => other.id !== node.id);
    // A node whose server has yet to join uses those of the others first.
    const hasJoined = hasFormed(nodePaths(labPaths(this.#dataDir).node(node.id)).nats);
    const own = node.onBus ? [node] : [];
    const nearest = hasJoined ? [...own, ...others] : [...others, ...own];
    return {
      version: 1,
      cluster: cluster.cluster,
      advertiseKey: advertiseKey(cluster).toString("base64"),
      busServers: nearest.map((server) => `${HOST}:${server.ports.client}`),
      commandSigners: commandSigners(this.#trust),
      trust: await verifierTrust(this.#trust),
      ...(node.onBus
        ? {
            server: {
              host: HOST,
              port: node.ports.client,
              clusterPort: node.ports.cluster,
              monitorPort: node.ports.monitor,
              helperPorts: node.ports.helper,
              routes: servers.map((server) => `${HOST}:${server.ports.cluster}`),
              routePassword: cluster.routePassword,
              trust: await this.#serverTrust,
            },
          }
        : {}),
    };
  }

  /** Settings that follow from this being a node on loopback; a file in the node's `etc` wins over them. */
  #writePresets(cluster: ClusterFile, node: LabNode): void {
    const paths = nodePaths(labPaths(this.#dataDir).node(node.id));
    const port = gatewayPort(cluster, node);
    const [, id = "", secret = ""] = /^dv_([^_]+)_(.+)$/.exec(cluster.adminToken) ?? [];
    const presets = {
      gateway: {
        host: HOST,
        port,
        bootstrapTokens: [
          { id, name: "local administrator", role: "admin", hash: createHash("sha256").update(secret).digest("hex") },
        ],
      },
      discovery: { interfaces: [HOST], advertisePort: port },
      "node-agent": { natsServerPath: this.#natsBinary },
    };
    mkdirSync(paths.etc, { recursive: true });
    for (const [service, values] of Object.entries(presets))
      writePrivateFile(paths.presets(service), stringify(values));
  }
}

/** Port of a node's gateway: the base port and the node's place in the list. */
export function gatewayPort(cluster: ClusterFile, node: LabNode): number {
  return cluster.port + cluster.nodes.findIndex(({ id }) => id === node.id);
}
