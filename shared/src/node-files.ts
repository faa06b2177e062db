// SPDX-License-Identifier: Apache-2.0
/**
 * The files of a node: who it is (`node.json`, `identity.pem`) and what the cluster gave it (`membership.json`, credentials).
 * On a real node the folder is /var/lib/debvisor, in the local cluster `<data>/nodes/<id>`. Files with secrets have mode 0600.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { NodeId, NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { z } from "zod";
import { writeFileAtomic } from "./atomic-file.ts";
import type { BusTls } from "./bus/tls.ts";
import { TrustSeeds } from "./bus/trust-seeds.ts";
import { DvError } from "./errors.ts";
import { makeFolders } from "./folders.ts";
import { readGiven } from "./given-file.ts";

const Port = z.number().int().min(1).max(65535);

/** Who a node is. Written once, when it is set up. */
export const NodeFile = z.strictObject({
  version: z.literal(1),
  id: NodeId,
  name: NodeName,
  roles: z.array(NodeRole).min(1),
  /** Raised whenever the node joins anew, because a removed server name is not admitted again (DESIGN.md 5). */
  incarnation: z.number().int().positive(),
  /** Root of the host: `/` on a real node. */
  root: z.string(),
});
export type NodeFile = z.output<typeof NodeFile>;

/** What the cluster gave a node when it admitted it. */
export const Membership = z.strictObject({
  version: z.literal(1),
  cluster: z.string(),
  /** 32 bytes, base64: key of the mDNS tag. */
  advertiseKey: z.base64(),
  /** `host:port` of the bus for clients, nearest first. */
  busServers: z.array(z.string()).min(1),
  /** Public keys of whoever signs the users that may give this node orders. */
  commandSigners: z.array(z.string()).min(1),
  /** By which signatures of users of the bus are checked: the operator's public key, and the accounts that it signed. */
  trust: z.strictObject({ operator: z.string(), accounts: z.strictObject({ core: z.string(), nodes: z.string() }) }),
  /** Random id of the cluster's formation: two formations of one cluster id are never merged. */
  formation: z.string(),
  /** Join ports of the servers, and by which key each is recognised (SHA-256 of the SPKI, hexadecimal). */
  joinServers: z.array(z.strictObject({ host: z.string(), port: Port, spki: z.string().regex(/^[0-9a-f]{64}$/) })),
  /** Present on server nodes. */
  server: z
    .strictObject({
      host: z.string(),
      port: Port,
      clusterPort: Port,
      monitorPort: Port,
      /** Where this server lets machines in. */
      joinPort: Port.optional(),
      helperPorts: z.tuple([Port, Port, Port]),
      routes: z.array(z.string()).min(1),
      routePassword: z.string().min(32),
      trust: z.strictObject({
        operatorJwt: z.string(),
        systemAccount: z.string(),
        accounts: z.record(z.string(), z.string()),
      }),
    })
    .optional(),
});
export type Membership = z.output<typeof Membership>;

const AuthorityFile = { certificatePem: z.string(), keyPem: z.string() };

/** What every server has and nobody else: with these a machine can be admitted. File of mode 0600. */
export const ServerSecrets = z.strictObject({
  version: z.literal(1),
  cluster: z.string(),
  trust: TrustSeeds,
  authority: z.strictObject(AuthorityFile),
  /** While the authority is rotated: the one that is to follow, and the operation that made it. */
  next: z.strictObject({ ...AuthorityFile, operation: z.string() }).optional(),
  routePassword: z.string().min(32),
  /** Cluster secret, base64 of 32 bytes or more: who has it may ask to join unattended. */
  secret: z.base64(),
  /** 32 random bytes from which services' seal keys are made. A cluster that was founded before there was one makes them from `secret`. */
  seal: z.base64().optional(),
});
export type ServerSecrets = z.output<typeof ServerSecrets>;

/**
 * The key by which a service's core parts seal secrets that they keep in a bucket: 32 bytes, base64, the same on every server of
 * the cluster. Derived, so that no server has to ask another one, and of its own, so that the service needs no other secret. Not of the
 * cluster secret, which lies on every machine's installation medium: that and a backup of the bucket would open what is sealed.
 */
export function sealKeyFor(
  service: string,
  { cluster, secret, seal = secret }: Pick<ServerSecrets, "cluster" | "secret" | "seal">,
): string {
  const key = hkdfSync("sha256", Buffer.from(seal, "base64"), cluster, `debvisor seal ${service} v1`, 32);
  return Buffer.from(key).toString("base64");
}

/** Paths inside a node's folder. */
export function nodePaths(dir: string) {
  return {
    dir,
    node: join(dir, "node.json"),
    identity: join(dir, "identity.pem"),
    /** To which machine the key is bound. */
    binding: join(dir, "binding.json"),
    membership: join(dir, "membership.json"),
    /** Servers only: every server of the cluster, as this one saw the membership last. */
    servers: join(dir, "servers.json"),
    /** A rescue that was begun and has not ended. */
    rescue: join(dir, "rescue.json"),
    /** Servers only. */
    secrets: join(dir, "secrets", "server.json"),
    /** Servers only: the key by which a service seals what it keeps on the bus. */
    seal: (service: string) => join(dir, "secrets", `${service}.seal`),
    /** What an elector must not forget, and what it decided. */
    promises: join(dir, "promises.json"),
    /** What the founder enters into the membership when its services first start. */
    founding: join(dir, "founding.json"),
    credential: (purpose: string) => join(dir, "credentials", `${purpose}.creds`),
    /** Settings that whoever set the node up wrote; the operator's file wins over it. */
    presets: (service: string) => join(dir, "presets", `${service}.yaml`),
    state: (service: string) => join(dir, "state", service),
    /** What the node shows on the bus, and the authorities that it believes; `ca.pem` may hold several. */
    tls: {
      ca: join(dir, "tls", "ca.pem"),
      certificate: join(dir, "tls", "node.pem"),
      key: join(dir, "tls", "node.key"),
    },
    nats: join(dir, "nats"),
    /** What discovery asks of whoever runs the server, and the answer. */
    rebuild: { asked: join(dir, "nats", "rebuild.json"), answer: join(dir, "nats", "rebuilt.json") },
    log: join(dir, "node.log"),
    etc: join(dir, "etc"),
  };
}

/** Id of a node: lower-case base32 of the first 80 bits of SHA-256 over its public key (SPKI). */
export function nodeIdOf(publicKey: KeyObject): string {
  const digest = createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest();
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  let bits = BigInt(`0x${digest.subarray(0, 10).toString("hex")}`);
  let id = "";
  for (let i = 0; i < 16; i++) {
    id = `${alphabet[Number(bits & 31n)]}${id}`;
    bits >>= 5n;
  }
  return id;
}

/** Makes a new Ed25519 identity: its node id and the private key as PEM. */
export function createIdentity(): { id: string; pem: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { id: nodeIdOf(publicKey), pem: String(privateKey.export({ type: "pkcs8", format: "pem" })) };
}

/** Reads a node's identity and checks that its id belongs to its key. @throws DATA_FOLDER_CORRUPT */
export function readNode(dir: string): NodeFile {
  const paths = nodePaths(dir);
  const node = readJsonFile(paths.node, NodeFile);
  let id: string;
  try {
    id = nodeIdOf(createPublicKey(createPrivateKey(readFileSync(paths.identity))));
  } catch (error) {
    throw new DvError("DATA_FOLDER_CORRUPT", `${paths.identity} holds no private key.`, { cause: error });
  }
  if (id !== node.id)
    throw new DvError(
      "DATA_FOLDER_CORRUPT",
      `${paths.node} names node ${node.id}, but the key in ${paths.identity} belongs to ${id}.`,
    );
  return node;
}

/** By which authorities the node checks the servers of the bus; undefined while it has been given none. */
export function busTls(dir: string): BusTls | undefined {
  const { ca } = nodePaths(dir).tls;
  return existsSync(ca) ? { caFile: ca } : undefined;
}

/** Reads what the cluster gave the node; undefined before it was admitted. @throws DATA_FOLDER_CORRUPT */
export function readMembership(dir: string): Membership | undefined {
  return readJsonFileIfPresent(nodePaths(dir).membership, Membership);
}

/** Reads a credential. @throws DATA_FOLDER_CORRUPT when it is missing */
export function readCredential(dir: string, purpose: string, user: string): { user: string; creds: string } {
  const file = nodePaths(dir).credential(purpose);
  let creds: string | undefined;
  try {
    creds = readGiven(`${purpose}.creds`, file);
  } catch (error) {
    throw new DvError("DATA_FOLDER_CORRUPT", `The credential ${file} cannot be read.`, { cause: error });
  }
  if (creds === undefined) throw new DvError("DATA_FOLDER_CORRUPT", `The credential ${file} is missing.`);
  return { user, creds };
}

/** Reads a JSON file and checks it. @throws DATA_FOLDER_CORRUPT naming the file and what is wrong */
export function readJsonFile<T>(file: string, schema: z.ZodType<T>): T {
  const value = readJsonFileIfPresent(file, schema);
  if (value === undefined) throw new DvError("DATA_FOLDER_CORRUPT", `${file} is missing.`);
  return value;
}

/** The same, undefined when there is no such file. @throws DATA_FOLDER_CORRUPT */
export function readJsonFileIfPresent<T>(file: string, schema: z.ZodType<T>): T | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new DvError("DATA_FOLDER_CORRUPT", `${file} cannot be read: ${(error as Error).message}.`, { cause: error });
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
    const what = issue ? `${issue.path.join(".") || "its content"}: ${issue.message}` : "it is not valid JSON";
    throw new DvError("DATA_FOLDER_CORRUPT", `${file} is damaged: ${what}.`, { cause: error });
  }
}

/** JSON as it is written to files: two spaces, newline at the end. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Writes a file of mode 0600 whole or not at all, with the folders above it. */
export function writePrivateFile(file: string, content: string): void {
  makeFolders(join(file, ".."), 0o700);
  writeFileAtomic(file, content, 0o600);
}
