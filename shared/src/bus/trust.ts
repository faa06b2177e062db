// SPDX-License-Identifier: Apache-2.0
/**
 * The cluster's authority over the bus: operator, accounts, and the users that it signs (operator-mode JWT, DESIGN.md 5).
 * Everything that issues credentials does so through `CredentialIssuer`, so that joining over the network can replace the
 * local cluster's way of handing them out without another change.
 */
import type { Contract } from "@debvisor/proto-events/kit";
import { NodeId } from "@debvisor/proto-events/primitives";
import { isToken, SUBJECT_FILTERS } from "@debvisor/proto-events/subjects";
import { type Account, encodeAccount, encodeOperator, encodeUser, fmtCreds, type SigningKey } from "@nats-io/jwt";
import { createAccount, createOperator, type KeyPair } from "@nats-io/nkeys";
import { DvError } from "../errors.ts";
import { keyPairOf } from "./keys.ts";
import {
  corePermissions,
  coreTags,
  eventReaderPermissions,
  lastAudit,
  nodeTemplate,
  type Permissions,
  replicaReaderPermissions,
  rescuePermissions,
  streamAdminPermissions,
  systemPermissions,
} from "./permissions.ts";
import type { TrustSeeds } from "./trust-seeds.ts";
import { checkedUserKey, newUser } from "./user-keys.ts";

/** A user's credential: its name on the bus and the content of a NATS credentials file. */
export interface Credential {
  readonly user: string;
  readonly creds: string;
}

/** Users that no server lets in any more, whatever their JWT says. */
export interface RevokedUsers {
  /** `publicKey`: `U…`. `at`: seconds since 1970; JWTs of that user issued then or before are refused. */
  readonly users: readonly { readonly publicKey: string; readonly at: number }[];
  /** Seconds since 1970: users of core parts and of the system account whose JWTs were issued then or before. Default: none. */
  readonly coreUntil?: number | undefined;
}

/** What stands for every user among the revocations of an account. */
const EVERYBODY = "*";

/** What nats-server needs to know of the authority. Holds no secret. */
export interface ServerTrust {
  readonly operatorJwt: string;
  readonly systemAccount: string;
  /** Account public key → account JWT. */
  readonly accounts: Readonly<Record<string, string>>;
}

/**
 * What somebody without any of the secrets needs to check what users of the bus have signed: the operator's key signs the
 * accounts, an account names its signing keys, those sign the users' JWTs. Holds no secret.
 */
export interface VerifierTrust {
  /** Public key, `O…`. */
  readonly operator: string;
  /** JWTs of the accounts CORE and NODES. */
  readonly accounts: { readonly core: string; readonly nodes: string };
}

/** Gives out credentials. Every function throws INVALID_ARGUMENT for what is no node id or, as a user's name, no subject token. */
export interface CredentialIssuer {
  /** For the node parts of one node. The user's name is the node id. */
  forNode(nodeId: string): Promise<Credential>;
  /**
   * The same for a key that was made elsewhere: the seed of a node that joins never leaves its machine.
   * @param publicKey `U…`, from `newUserKey`
   * @returns the user's JWT; `credsOf` makes a credential of it where the seed is
   */
  forNodeKey(nodeId: string, publicKey: string): Promise<string>;
  /** For an integrator: it may hear events, and nothing else. The user's name is `events-<name>`. */
  forEventReader(name: string): Promise<Credential>;
  /** For the core part of one service on one server node. */
  forCore(service: string, nodeId: string, contracts: readonly Contract[]): Promise<Credential>;
  /** For the job that creates streams and raises their replicas. */
  forStreamAdmin(nodeId: string): Promise<Credential>;
  /** For the job that reads every replica to compare them. */
  forReplicaReader(nodeId: string): Promise<Credential>;
  /** For the job that admits and removes servers. */
  forSystem(nodeId: string): Promise<Credential>;
  /** For the rescue of a lone survivor; to be used once and kept nowhere. */
  forRescue(nodeId: string): Promise<Credential>;
}

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
const NO_JETSTREAM = { mem_storage: 0, disk_storage: 0, streams: 0, consumer: 0 };
const JETSTREAM = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };

/** Makes new secret keys. */
export function createTrustSeeds(): TrustSeeds {
  const seed = (pair: KeyPair) => new TextDecoder().decode(pair.getSeed());
  return {
    operator: seed(createOperator()),
    system: seed(createAccount()),
    core: seed(createAccount()),
    nodes: seed(createAccount()),
    enrol: seed(createAccount()),
    nodeSigner: seed(createAccount()),
    coreSigner: seed(createAccount()),
  };
}

/**
 * The public side of the authority: operator and account JWTs, made anew from the keys. Whoever makes them has to name
 * everybody that was ever revoked: of two JWTs of an account servers take the one that was issued later.
 * @throws INVALID_ARGUMENT for a public key that is none
 */
export async function serverTrust(seeds: TrustSeeds, revoked: RevokedUsers = { users: [] }): Promise<ServerTrust> {
  const keys = pairs(seeds);
  // Accounts share the list: it is short, and a key says nothing of where its user lives.
  const revocations = Object.fromEntries(revoked.users.map(({ publicKey, at }) => [checkedUserKey(publicKey), at]));
  const coreRevocations = revoked.coreUntil ? { ...revocations, [EVERYBODY]: revoked.coreUntil } : revocations;
  const operator = { signer: keys.operator };
  const accounts = [
    ["SYS", keys.system, { limits: { ...UNLIMITED }, revocations: coreRevocations }],
    ["CORE", keys.core, { ...coreAccount(keys), revocations: coreRevocations }],
    ["NODES", keys.nodes, { ...nodesAccount(keys), revocations }],
    ["ENROL", keys.enrol, { limits: { ...UNLIMITED, ...NO_JETSTREAM, imports: 0, exports: 0 }, revocations }],
  ] as const;
  const jwts = await Promise.all(
    accounts.map(
      async ([name, key, claims]) =>
        [key.getPublicKey(), await encodeAccount(name, key, claims as Partial<Account>, operator)] as const,
    ),
  );
  return {
    operatorJwt: await encodeOperator("debvisor", keys.operator, { system_account: keys.system.getPublicKey() }),
    systemAccount: keys.system.getPublicKey(),
    accounts: Object.fromEntries(jwts),
  };
}

/** The public side for somebody who checks signatures, also without a cluster. */
export async function verifierTrust(seeds: TrustSeeds): Promise<VerifierTrust> {
  const keys = pairs(seeds);
  const { accounts } = await serverTrust(seeds);
  const jwtOf = (key: KeyPair) => accounts[key.getPublicKey()] ?? "";
  return { operator: keys.operator.getPublicKey(), accounts: { core: jwtOf(keys.core), nodes: jwtOf(keys.nodes) } };
}

/** Public keys of whoever signs the users that may give orders to nodes. */
export function commandSigners(seeds: TrustSeeds): string[] {
  return [keyPairOf(seeds.coreSigner).getPublicKey()];
}

/** Public keys of the accounts, `A…`. */
export function accountKeys(seeds: TrustSeeds): { readonly core: string; readonly nodes: string } {
  return { core: keyPairOf(seeds.core).getPublicKey(), nodes: keyPairOf(seeds.nodes).getPublicKey() };
}

/** An issuer that holds the secret keys itself. */
export function createIssuer(seeds: TrustSeeds): CredentialIssuer {
  const keys = pairs(seeds);
  return {
    forNode: async (nodeId) => {
      const user = newUser();
      return credential(nodeId, await signNode(keys, nodeId, user.getPublicKey()), user);
    },
    forNodeKey: async (nodeId, publicKey) => signNode(keys, nodeId, checkedUserKey(publicKey)),
    forEventReader: async (name) => {
      const user = checked(`events-${checked(name)}`);
      return await issue(user, keys.coreSigner, keys.core, eventReaderPermissions(user));
    },
    forCore: async (service, nodeId, contracts) => {
      const user = checked(`${service}-${checkedNode(nodeId)}`);
      const claims = { ...corePermissions(user, contracts), tags: coreTags(contracts) };
      return await issue(user, keys.coreSigner, keys.core, claims);
    },
    forStreamAdmin: async (nodeId) => {
      const user = checked(`stream-admin-${checkedNode(nodeId)}`);
      return await issue(user, keys.coreSigner, keys.core, streamAdminPermissions(user));
    },
    forReplicaReader: async (nodeId) => {
      const user = checked(`replica-reader-${checkedNode(nodeId)}`);
      return await issue(user, keys.coreSigner, keys.core, replicaReaderPermissions(user));
    },
    forSystem: async (nodeId) => {
      const user = checked(`system-${checkedNode(nodeId)}`);
      return await issue(user, keys.system, undefined, systemPermissions(user));
    },
    forRescue: async (nodeId) => {
      const user = checked(`rescue-${checkedNode(nodeId)}`);
      return await issue(user, keys.system, undefined, rescuePermissions(user));
    },
  };
}

/** CORE holds JetStream. It offers events and audit to NODES as services, so that acknowledgements come back. */
function coreAccount(keys: Keys): Partial<Account> {
  const nodes = keys.nodes.getPublicKey();
  const imported = (name: string, subject: string, type: "service" | "stream") => ({
    name,
    account: nodes,
    subject,
    type,
  });
  return {
    limits: { ...UNLIMITED, ...JETSTREAM },
    signing_keys: [keys.coreSigner.getPublicKey()],
    exports: [
      { name: "events", subject: SUBJECT_FILTERS.allEvents, type: "service" },
      { name: "audit", subject: SUBJECT_FILTERS.allAudit, type: "service" },
      { name: "audit-last", subject: lastAudit(SUBJECT_FILTERS.allAudit), type: "service" },
    ],
    imports: [
      imported("requests", SUBJECT_FILTERS.allRpc, "service"),
      imported("service-protocol", "$SRV.>", "service"),
      imported("telemetry", SUBJECT_FILTERS.allTelemetry, "stream"),
    ],
  };
}

/** NODES: every node's own user. Requests come in as services, so that the server itself names where the answer goes. */
function nodesAccount(keys: Keys): Partial<Account> {
  const core = keys.core.getPublicKey();
  const scope: SigningKey = {
    kind: "user_scope",
    key: keys.nodeSigner.getPublicKey(),
    role: "node",
    template: { ...nodeTemplate(), subs: -1, data: -1, payload: -1, allowed_connection_types: ["STANDARD"] },
  };
  return {
    limits: { ...UNLIMITED, ...NO_JETSTREAM },
    signing_keys: [scope],
    exports: [
      { name: "requests", subject: SUBJECT_FILTERS.allRpc, type: "service", response_type: "Stream" },
      { name: "service-protocol", subject: "$SRV.>", type: "service", response_type: "Stream" },
      { name: "telemetry", subject: SUBJECT_FILTERS.allTelemetry, type: "stream" },
    ],
    imports: [
      { name: "events", account: core, subject: SUBJECT_FILTERS.allEvents, type: "service" },
      { name: "audit", account: core, subject: SUBJECT_FILTERS.allAudit, type: "service" },
      { name: "audit-last", account: core, subject: lastAudit(SUBJECT_FILTERS.allAudit), type: "service" },
    ],
  };
}

type Keys = { readonly [K in keyof TrustSeeds]: KeyPair };

function pairs(seeds: TrustSeeds): Keys {
  return Object.fromEntries(Object.entries(seeds).map(([name, seed]) => [name, keyPairOf(seed)])) as unknown as Keys;
}

async function signNode(keys: Keys, nodeId: string, publicKey: string): Promise<string> {
  const name = checkedNode(nodeId);
  const account = { issuer_account: keys.nodes.getPublicKey() };
  return await encodeUser(name, publicKey, keys.nodeSigner, account, { scopedUser: true });
}

async function issue(
  name: string,
  signer: KeyPair,
  account: KeyPair | undefined,
  claims: Permissions & { readonly tags?: string[] },
): Promise<Credential> {
  const user = newUser();
  const issuer = account ? { issuer_account: account.getPublicKey() } : {};
  const jwt = await encodeUser(name, user, signer, {
    ...claims,
    ...issuer,
    allowed_connection_types: ["STANDARD"],
    subs: -1,
    data: -1,
    payload: -1,
  });
  return credential(name, jwt, user);
}

function credential(user: string, jwt: string, pair: KeyPair): Credential {
  return { user, creds: new TextDecoder().decode(fmtCreds(jwt, pair)) };
}

/** A user named `*` in a permission template would own every node's subjects (RULES.md F6), so names are checked here. */
function checked(name: string): string {
  if (!isToken(name))
    throw new DvError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(name)} cannot be a user of the bus: it is no subject token.`,
    );
  return name;
}

/** A node named `core` would hear the requests to the core parts and publish events in their name, so only an id will do. */
function checkedNode(nodeId: string): string {
  if (!NodeId.safeParse(nodeId).success)
    throw new DvError("INVALID_ARGUMENT", `${JSON.stringify(nodeId)} is no node id.`);
  return nodeId;
}
