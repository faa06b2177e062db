// SPDX-License-Identifier: Apache-2.0
/** Authorities and certificates for tests, of the project's own making, as files where a server reads them. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import type { NatsServerTls } from "@debvisor/shared/nats-server/config";
import { createIdentity } from "@debvisor/shared/node-files";
import { type Authority, createAuthority, createRequest, signCertificate } from "@debvisor/shared/pki/authority";

const HOST = "127.0.0.1";

/** An authority of the cluster `test`. */
export function testAuthority(): Promise<Authority> {
  return createAuthority("test");
}

/** Certificate and key of a new node that is reached at `addresses`, PEM. `now`: what time the issuer has. */
export async function issue(authority: Authority, addresses: readonly string[] = [HOST], now = new Date()) {
  const { requestPem, keyPem } = await createRequest();
  const options = { cluster: "test", nodeId: createIdentity().id, addresses, now };
  return { certificate: await signCertificate(authority, requestPem, options), key: keyPem };
}

/** Writes a server's files, as they lie in a node's folder; over older ones. */
export async function writeServerTls(
  dir: string,
  authority: Authority,
  addresses?: readonly string[],
  now?: Date,
): Promise<NatsServerTls> {
  mkdirSync(dir, { recursive: true });
  const files = { ca: "ca.pem", certificate: "node.pem", key: "node.key" };
  const { certificate, key } = await issue(authority, addresses, now);
  const tls = Object.fromEntries(Object.entries(files).map(([what, name]) => [what, path.join(dir, name)]));
  writeFileSync(tls["ca"] ?? "", authority.certificatePem);
  writeFileSync(tls["certificate"] ?? "", certificate);
  writeFileSync(tls["key"] ?? "", key, { mode: 0o600 });
  return tls as unknown as NatsServerTls;
}

/** What a server shows to whoever dials it, believed or not. */
export function certificateOf(url: string): Promise<PeerCertificate> {
  const [host, port] = url.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
