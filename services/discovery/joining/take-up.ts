// SPDX-License-Identifier: Apache-2.0
/** Writes what makes a machine a member: as the founder, or as it was handed by a member. The membership file comes last. */
import { randomBytes } from "node:crypto";
import type { Member } from "@debvisor/proto-events/membership";
import { CONTRACTS, contractsOf } from "@debvisor/proto-events/registry";
import { createIssuer, createTrustSeeds } from "@debvisor/shared/bus/trust";
import { credsOf, newUserKey } from "@debvisor/shared/bus/user-keys";
import { DvError } from "@debvisor/shared/errors";
import type { Admission } from "@debvisor/shared/join/messages";
import { hasFormed } from "@debvisor/shared/nats-server/member";
import {
  json,
  type Membership,
  nodePaths,
  readNode,
  type ServerSecrets,
  sealKeyFor,
  writePrivateFile,
} from "@debvisor/shared/node-files";
import { createAuthority, createRequest, signCertificate } from "@debvisor/shared/pki/authority";
import { spkiHashOf } from "@debvisor/shared/pki/certificate";
import { membershipOf } from "../membership-of.ts";
import type { Machine } from "./machine.ts";

/** Keys that a machine makes for one admission. The secret halves never leave it. */
export interface FreshKeys {
  readonly bus: { readonly seed: string; readonly publicKey: string };
  readonly tls: { readonly requestPem: string; readonly keyPem: string };
}

/** Makes them. */
export async function freshKeys(): Promise<FreshKeys> {
  return { bus: newUserKey(), tls: await createRequest() };
}

/** Writes an admission into the machine's folder. A crash in between leaves a machine that asks again. */
export async function takeUp(machine: Machine, keys: FreshKeys, admission: Admission): Promise<void> {
  const paths = nodePaths(machine.dir);
  const node = readNode(machine.dir);
  writePrivateFile(paths.node, json({ ...node, roles: [admission.role], incarnation: admission.incarnation }));
  writeTls(machine.dir, { ...admission, keyPem: keys.tls.keyPem });
  writePrivateFile(paths.credential("node"), credsOf(admission.nodeJwt, keys.bus.seed));
  if (admission.secrets) {
    writePrivateFile(paths.secrets, json(admission.secrets));
    await issueOwn(machine.dir, machine.id, admission.secrets);
  }
  writePrivateFile(paths.membership, json(admission.membership));
}

/** Writes certificate, key and authorities. */
export function writeTls(dir: string, tls: { authorities: string; certificate: string; keyPem: string }): void {
  const { ca, certificate, key } = nodePaths(dir).tls;
  writePrivateFile(key, tls.keyPem);
  writePrivateFile(ca, tls.authorities);
  writePrivateFile(certificate, tls.certificate);
}

/** A server has the authority's keys, so it signs the credentials of its own core parts. */
export async function issueOwn(dir: string, id: string, secrets: ServerSecrets): Promise<void> {
  const issuer = createIssuer(secrets.trust);
  const paths = nodePaths(dir);
  const write = (purpose: string, { creds }: { creds: string }) => writePrivateFile(paths.credential(purpose), creds);
  write("system", await issuer.forSystem(id));
  write("stream-admin", await issuer.forStreamAdmin(id));
  for (const { service, uses } of CONTRACTS) {
    if (uses) write(service, await issuer.forCore(service, id, contractsOf(service)));
  }
  writePrivateFile(paths.seal("dns"), sealKeyFor("dns", secrets));
}

/** What founding needs to be told. */
export interface Founding {
  readonly cluster: string;
  readonly formation: string;
  readonly servers: 1 | 3 | 5;
  /** Cluster secret, base64; made here when there is none. */
  readonly secret?: string;
}

/** Makes a cluster of this machine alone: authority, keys, credentials, its own membership. */
export async function found(machine: Machine, founding: Founding): Promise<Membership> {
  const paths = nodePaths(machine.dir);
  const { cluster, formation } = founding;
  // Its nats-server has belonged to a cluster: founding again would make a second one with the same id, and lose this one's data.
  if (hasFormed(paths.nats))
    throw new DvError(
      "DATA_FOLDER_CORRUPT",
      `${paths.nats} holds the data of a cluster, but ${paths.membership} is missing.`,
    );
  const secrets: ServerSecrets = {
    version: 1,
    cluster,
    trust: createTrustSeeds(),
    authority: await createAuthority(cluster),
    routePassword: randomBytes(24).toString("hex"),
    secret: founding.secret ?? randomBytes(32).toString("base64"),
    seal: randomBytes(32).toString("base64"),
  };
  const keys = await freshKeys();
  const member = foundingMember(machine, keys);
  const { monitor, helper } = machine.endpoints;
  const membership = await membershipOf(member, new Map([[member.id, member]]), { cluster, formation }, secrets, {
    monitor,
    helper,
  });
  // What the first start of discovery enters into the membership.
  writePrivateFile(paths.founding, json({ version: 1, servers: founding.servers, member }));
  await takeUp(machine, keys, {
    node: machine.id,
    role: "server",
    incarnation: 1,
    membership,
    nodeJwt: await createIssuer(secrets.trust).forNodeKey(machine.id, keys.bus.publicKey),
    authorities: secrets.authority.certificatePem,
    certificate: await signCertificate(secrets.authority, keys.tls.requestPem, {
      cluster,
      nodeId: machine.id,
      addresses: certificateAddresses(machine.endpoints.host, machine.addresses),
      now: new Date(),
    }),
    secrets,
    timeMs: Date.now(),
  });
  return membership;
}

function foundingMember(machine: Machine, keys: FreshKeys): Member {
  const { host, client, cluster, join, gateway } = machine.endpoints;
  return {
    kind: "member",
    id: machine.id,
    name: machine.name,
    role: "server",
    state: "active",
    generation: 1,
    incarnation: 1,
    key: spkiHashOf(machine.identityPem),
    busKey: keys.bus.publicKey,
    addresses: [...machine.addresses],
    endpoints: { host, client, cluster, join, gateway },
    admittedBy: "founding",
    admittedAt: new Date().toISOString(),
    certificate: null,
    removed: null,
  };
}

/** Names that a server's certificate is for: loopback too, for the programs on the machine itself. */
export function certificateAddresses(host: string, addresses: readonly string[]): string[] {
  return [...new Set([host, ...addresses, "127.0.0.1", "::1"])];
}
