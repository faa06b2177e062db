// SPDX-License-Identifier: Apache-2.0
/**
 * What the removal of a member asks of the message bus: which users its servers refuse, who is in their group, where the streams are.
 * Holds the cluster's secrets, so it is made on servers only.
 *
 * Only the account of the nodes is given anew, in which a member's user lives. Measured with nats-server 2.15.1: an account that gets
 * another JWT leaves requests unanswered for a moment, and that of the core parts is without JetStream meanwhile.
 */
import { claimsOf, isSignedAccount } from "@debvisor/shared/bus/accounts";
import { laggingStreams, openAdmin, streamsOn } from "@debvisor/shared/bus/admin";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { moveReplicas } from "@debvisor/shared/bus/placement";
import { connectSystem, type MetaPeer, type SystemConnection } from "@debvisor/shared/bus/system";
import type { BusTls } from "@debvisor/shared/bus/tls";
import { accountKeys, type Credential, createIssuer, type RevokedUsers, serverTrust } from "@debvisor/shared/bus/trust";
import type { TrustSeeds } from "@debvisor/shared/bus/trust-seeds";
import { DvError } from "@debvisor/shared/errors";

type Users = RevokedUsers["users"];

/** What a removal asks of the bus. */
export interface BusControl {
  /**
   * Has every server within reach refuse users of nodes, and cut them, besides all that were refused before.
   * @returns names of the servers that were not reached; they learn of it when they come back
   * @throws UNAVAILABLE when no server answers or one does not refuse them yet, NATS_SERVER_FAILED
   */
  revoke(users: Users): Promise<{ readonly missing: readonly string[] }>;
  /** Whether every server within reach refuses a user; undefined when none answers. @throws NATS_SERVER_FAILED */
  refuses(publicKey: string): Promise<boolean | undefined>;
  /** The group of servers; undefined while it has no leader. @throws NATS_SERVER_FAILED */
  peers(): Promise<readonly MetaPeer[] | undefined>;
  /** @throws NATS_SERVER_FAILED when it is still in the group after 20 s */
  removePeer(server: string): Promise<void>;
  /** Streams of which the server holds a replica. @throws BUS_UNAVAILABLE */
  streamsOn(server: string): Promise<readonly string[]>;
  /** @throws BUS_UNAVAILABLE when a stream does not become current elsewhere */
  moveStreams(server: string): Promise<readonly string[]>;
  /** Streams whose replicas are not current, those on the named server aside. @throws BUS_UNAVAILABLE */
  lagging(except: string): Promise<readonly string[]>;
}

export interface BusControlOptions {
  readonly seeds: TrustSeeds;
  /** This node, in whose name it connects to the system account. */
  readonly node: string;
  /** `host:port` of the servers. */
  readonly servers: () => readonly string[];
  readonly tls?: BusTls | undefined;
  readonly connectAdmin: () => Promise<ConnectedBus>;
  /** How long a server may take after another one to say what it holds, in milliseconds; default 300. */
  readonly answerMs?: number;
}

const CONNECT_MS = 3_000;
const ANSWER_MS = 300;
const MOVE_MS = 60_000;

/** Makes it. Connects for each question: they are rare, and a connection to the system account should not stay. */
export function createBusControl(options: BusControlOptions): BusControl {
  return new SeedControl(options);
}

class SeedControl implements BusControl {
  readonly #options: BusControlOptions;
  #credential: Credential | undefined;

  constructor(options: BusControlOptions) {
    this.#options = options;
  }

  revoke(users: Users): Promise<{ missing: readonly string[] }> {
    return this.#withSystem(async (system) => {
      const held = await this.#held(system);
      if (held.length === 0) throw new DvError("UNAVAILABLE", "No server says which users it refuses.");
      const { seeds } = this.#options;
      const { accounts } = await serverTrust(seeds, { users: united(held, users) });
      const { missing } = await system.pushAccount(accounts[this.#account] ?? "");
      const inForce = await this.#held(system);
      if (!users.every(({ publicKey }) => inForce.length > 0 && refusedBy(inForce, publicKey)))
        throw new DvError("UNAVAILABLE", "A server does not refuse the user yet.");
      return { missing };
    });
  }

  refuses(publicKey: string): Promise<boolean | undefined> {
    return this.#withSystem(async (system) => {
      const held = await this.#held(system);
      return held.length === 0 ? undefined : refusedBy(held, publicKey);
    });
  }

  peers(): Promise<readonly MetaPeer[] | undefined> {
    return this.#withSystem((system) => system.metaPeers());
  }

  removePeer(server: string): Promise<void> {
    return this.#withSystem((system) => system.removePeer(server));
  }

  streamsOn(server: string): Promise<readonly string[]> {
    return this.#withAdmin(async ({ connection }) => await streamsOn(await openAdmin(connection), server));
  }

  moveStreams(server: string): Promise<readonly string[]> {
    return this.#withAdmin(async ({ connection }) => (await moveReplicas(connection, server, MOVE_MS)).moved);
  }

  lagging(except: string): Promise<readonly string[]> {
    return this.#withAdmin(async ({ connection }) => await laggingStreams(await openAdmin(connection), except));
  }

  /** JWTs of the nodes' account that the operator signed, as the servers hold them. */
  async #held(system: SystemConnection): Promise<string[]> {
    const { seeds, answerMs = ANSWER_MS } = this.#options;
    const { operatorJwt } = await serverTrust(seeds);
    const operator = claimsOf(operatorJwt).sub;
    const held = await system.accounts([this.#account], answerMs);
    return held.filter((jwt) => isSignedAccount(jwt, operator) && claimsOf(jwt).sub === this.#account);
  }

  get #account(): string {
    return accountKeys(this.#options.seeds).nodes;
  }

  async #withSystem<T>(work: (system: SystemConnection) => Promise<T>): Promise<T> {
    const { seeds, node, servers, tls } = this.#options;
    this.#credential ??= await createIssuer(seeds).forSystem(node);
    const system = await connectSystem(servers(), this.#credential, CONNECT_MS, tls);
    try {
      return await work(system);
    } finally {
      await system.close();
    }
  }

  async #withAdmin<T>(work: (bus: ConnectedBus) => Promise<T>): Promise<T> {
    const bus = await this.#options.connectAdmin();
    try {
      return await work(bus);
    } finally {
      await bus.close();
    }
  }
}

/** Whoever makes the JWTs of accounts anew has to name everybody that was ever revoked: the later one is believed. */
function united(held: readonly string[], users: Users): Users {
  const all = new Map<string, number>();
  const known = held.flatMap((jwt) => Object.entries(claimsOf(jwt).revocations));
  for (const [publicKey, at] of [...known, ...users.map((user) => [user.publicKey, user.at] as const)])
    all.set(publicKey, Math.max(all.get(publicKey) ?? 0, at));
  return [...all].map(([publicKey, at]) => ({ publicKey, at }));
}

/** A server that holds another JWT is behind. */
function refusedBy(held: readonly string[], publicKey: string): boolean {
  return held.every((jwt) => claimsOf(jwt).revocations[publicKey] !== undefined);
}
