// SPDX-License-Identifier: Apache-2.0
/**
 * Writes the configuration of a nats-server (2.15). Always with a cluster block: a standalone server that is converted later
 * loses its streams (DESIGN.md 5). `sync_interval: always`: without it a power cut loses acknowledged messages (RULES.md F7).
 */
import type { ServerTrust } from "../bus/trust.ts";

/** Files of a server's TLS, all PEM. A server reads them at its start and at a reload. */
export interface NatsServerTls {
  /** Certificates of the authorities that other servers' certificates may come from. */
  readonly ca: string;
  /** Certificate of this node; has to name the addresses of `host`. */
  readonly certificate: string;
  readonly key: string;
}

/** What one server needs to be told. Ports on `host`. */
export interface NatsServerSettings {
  /** Unique in the cluster's life: node id and incarnation. */
  readonly serverName: string;
  readonly host: string;
  readonly port: number;
  readonly clusterPort: number;
  readonly monitorPort: number;
  readonly clusterName: string;
  /** `host:port` of the cluster listeners of all members, itself included. */
  readonly routes: readonly string[];
  /** Shared by the members; without it anyone on the LAN could open a route. */
  readonly routePassword: string;
  readonly storeDir: string;
  /** Folder of the account resolver. */
  readonly resolverDir: string;
  readonly trust: ServerTrust;
  /** TLS 1.3 for clients and servers. Without it everything is in the clear; only a test rig runs so. */
  readonly tls?: NatsServerTls;
  /** False for the short-lived helper that unlocks a lone server. */
  readonly jetstream: boolean;
}

const ROUTE_USER = "route";

/** The configuration as text. */
export function natsServerConfig(settings: NatsServerSettings): string {
  const { trust } = settings;
  const routes = settings.routes.map((route) => quote(`nats://${ROUTE_USER}:${settings.routePassword}@${route}`));
  const preload = Object.entries(trust.accounts).map(([account, jwt]) => `  ${account}: ${quote(jwt)}`);
  return [
    "# Written by DebVisor at every start; changes by hand are lost.",
    `server_name: ${quote(settings.serverName)}`,
    `host: ${quote(settings.host)}`,
    `port: ${settings.port}`,
    `http: ${quote(`127.0.0.1:${settings.monitorPort}`)}`,
    // The handshake comes first: nothing is said in the clear, not even the server's name.
    ...(settings.tls ? [`tls: { ${own(settings.tls)}, handshake_first: true }`] : []),
    "max_payload: 1MB",
    // A client's CONNECT carries its user JWT in one line; with many permissions that is more than the default of 4 KB.
    "max_control_line: 32KB",
    "write_deadline: 5s",
    "ping_interval: 20s",
    "lame_duck_grace_period: 1s",
    "lame_duck_duration: 30s",
    `operator: ${quote(trust.operatorJwt)}`,
    `system_account: ${trust.systemAccount}`,
    `resolver: { type: full, dir: ${quote(settings.resolverDir)}, allow_delete: false, interval: "10s", limit: 1000 }`,
    `resolver_preload: {\n${preload.join("\n")}\n}`,
    ...(settings.jetstream
      ? [
          `jetstream: { store_dir: ${quote(settings.storeDir)}, sync_interval: always, max_memory_store: 64MB, max_file_store: 8GB }`,
        ]
      : []),
    "cluster: {",
    `  name: ${quote(settings.clusterName)}`,
    `  host: ${quote(settings.host)}`,
    `  port: ${settings.clusterPort}`,
    "  pool_size: 1",
    `  authorization: { user: ${quote(ROUTE_USER)}, password: ${quote(settings.routePassword)}, timeout: 3 }`,
    // Another server shows a certificate of the cluster and the password; one of both is not enough.
    ...(settings.tls ? [`  tls: { ${own(settings.tls)}, ca_file: ${quote(settings.tls.ca)}, verify: true }`] : []),
    `  routes: [${routes.join(", ")}]`,
    "}",
    "",
  ].join("\n");
}

function own({ certificate, key }: NatsServerTls): string {
  return `cert_file: ${quote(certificate)}, key_file: ${quote(key)}, min_version: "1.3", timeout: 3`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
