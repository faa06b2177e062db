// SPDX-License-Identifier: Apache-2.0
/** The few requests to the system account that forming a cluster of servers and revoking users need. */
import { inboxPrefix } from "@debvisor/proto-events/subjects";
import type { NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { z } from "zod";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { claimsOf } from "./accounts.ts";
import { credentialAuthenticator } from "./keys.ts";
import { lookAtReplicas, type ReplicaLook } from "./replica-look.ts";
import { type BusTls, tlsOption } from "./tls.ts";
import type { Credential } from "./trust.ts";

/** A server in the meta group, as its leader sees it. */
export interface MetaPeer {
  readonly name: string;
  readonly leader: boolean;
  /** Whether the leader hears nothing of it. */
  readonly offline: boolean;
}

/** Who has taken up an account's JWT. */
export interface PushResult {
  /** Names of the servers that said so. */
  readonly taken: readonly string[];
  /** Names of the servers of the meta group that did not; they learn of it when they come back. */
  readonly missing: readonly string[];
}

/** A connection to the system account. */
export interface SystemConnection {
  /** The meta group; undefined while it has no leader or the leader does not answer. */
  metaPeers(): Promise<readonly MetaPeer[] | undefined>;
  /**
   * Removes a server from the meta group and waits until it is out; done at once when it is not in it. A server that was removed
   * does not get in again under its name (DESIGN.md 5). Stop it first: while it runs it stays in touch.
   * @throws NATS_SERVER_FAILED when it is still in, or nobody leads, after `patienceMs` (default 20,000)
   */
  removePeer(serverName: string, patienceMs?: number): Promise<void>;
  /** Asks once for the removal of a server. Answered late or never while leadership moves: look at the result instead. */
  askRemoval(serverName: string): Promise<void>;
  /**
   * Has the group of servers count this server alone as its majority, for five minutes. Undefined when it does, otherwise why not:
   * a leader is known, or its log is empty.
   */
  lowerQuorum(): Promise<string | undefined>;
  /** Takes a server out of the group that is off, by its id in the group: without it nobody knows its name. True when it is out. */
  removeLost(peerId: string): Promise<boolean>;
  /** Asks the meta leader to hand over to the named server. The same caution applies. */
  stepDown(preferred: string): Promise<void>;
  /**
   * Gives an account's JWT to every server. Connections of users that it revokes are cut there before a server answers.
   * Resolves when all online servers of the meta group have answered, or after `patienceMs` (default 3,000).
   * @throws NATS_SERVER_FAILED when a server refuses it, naming why
   */
  pushAccount(jwt: string, patienceMs?: number): Promise<PushResult>;
  /**
   * The JWTs of these accounts that the servers within reach go by, each different one once. Waits a second for an answer, then
   * `waitMs` for each further one.
   */
  accounts(keys: readonly string[], waitMs: number): Promise<readonly string[]>;
  /** What every server within reach says of the replicas that it holds. Waits at most `patienceMs` (default 1,000) for all. */
  replicas(patienceMs?: number): Promise<ReplicaLook>;
  close(): Promise<void>;
}

const CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE";
/** Every server answers this one. The exchange between resolvers (`CLAIMS.PACK`) is answered by any one of them. */
const ACCOUNT_STATE = "$SYS.REQ.SERVER.PING.ACCOUNTZ";
const JETSTREAM_STATE = "$SYS.REQ.SERVER.PING.JSZ";
const ASK_AGAIN_MS = 50;
const FIRST_ANSWER_MS = 1_000;

/** Connects to servers that may be just starting. @throws NATS_SERVER_FAILED when none answers in time */
export async function connectSystem(
  servers: string | readonly string[],
  credential: Credential,
  patienceMs: number,
  tls?: BusTls,
): Promise<SystemConnection> {
  const deadline = systemClock.monotonic() + patienceMs;
  for (;;) {
    try {
      const connection = await connect({
        servers: [servers].flat(),
        authenticator: credentialAuthenticator(credential.creds),
        inboxPrefix: inboxPrefix(credential.user),
        timeout: 1_000,
        reconnect: false,
        ...tlsOption(tls),
      });
      return new System(connection);
    } catch (error) {
      if (systemClock.monotonic() > deadline) {
        throw new DvError("NATS_SERVER_FAILED", `nats-server does not answer at ${[servers].flat().join(", ")}.`, {
          cause: error,
        });
      }
      await systemClock.sleep(30);
    }
  }
}

const JetStreamState = z.object({
  data: z.object({
    meta_cluster: z.object({
      leader: z.string(),
      replicas: z.array(z.object({ name: z.string(), offline: z.boolean().optional() })).optional(),
    }),
  }),
});

const AccountState = z.object({ data: z.object({ account_detail: z.object({ jwt: z.string().min(1) }) }) });

const RescueAnswer = z.object({
  new_quorum: z.number().optional(),
  error: z.object({ description: z.string() }).optional(),
});

const UpdateAnswer = z.object({
  server: z.object({ name: z.string() }),
  error: z.object({ description: z.string() }).optional(),
});

class System implements SystemConnection {
  readonly #connection: NatsConnection;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  async metaPeers(): Promise<readonly MetaPeer[] | undefined> {
    const reply = await this.#connection
      .request(JETSTREAM_STATE, JSON.stringify({ leader_only: true }), { timeout: 500 })
      .catch(() => undefined);
    const state = JetStreamState.safeParse(reply?.json());
    if (!state.success) return undefined;
    const { leader, replicas = [] } = state.data.data.meta_cluster;
    const others = replicas.map(({ name, offline = false }) => ({ name, leader: false, offline }));
    return [{ name: leader, leader: true, offline: false }, ...others];
  }

  async removePeer(serverName: string, patienceMs = 20_000): Promise<void> {
    const deadline = systemClock.monotonic() + patienceMs;
    for (;;) {
      const peers = await this.metaPeers();
      const peer = peers?.find(({ name }) => name === serverName);
      if (peers && !peer) return;
      if (systemClock.monotonic() > deadline) {
        const why = peers
          ? "is still in the group of servers"
          : "cannot be removed: the group of servers has no leader";
        throw new DvError("NATS_SERVER_FAILED", `The server ${serverName} ${why}.`);
      }
      if (peer) await this.askRemoval(serverName);
      await systemClock.sleep(ASK_AGAIN_MS);
    }
  }

  askRemoval(serverName: string): Promise<void> {
    return this.#ask("$JS.API.SERVER.REMOVE", { peer: serverName });
  }

  async lowerQuorum(): Promise<string | undefined> {
    const answer = RescueAnswer.safeParse(await this.#answer("$JS.API.META.RESCUE", { quorum_needed: 1 }));
    if (!answer.success) return "the server does not answer";
    return answer.data.error?.description;
  }

  async removeLost(peerId: string): Promise<boolean> {
    const answer = await this.#answer("$JS.API.SERVER.REMOVE", { peer: "", peer_id: peerId });
    return z.object({ success: z.literal(true) }).safeParse(answer).success;
  }

  stepDown(preferred: string): Promise<void> {
    return this.#ask("$JS.API.META.LEADER.STEPDOWN", { placement: { preferred } });
  }

  async pushAccount(jwt: string, patienceMs = 3_000): Promise<PushResult> {
    const taken = new Set<string>();
    const answers = await this.#connection.requestMany(CLAIMS_UPDATE, jwt, { strategy: "timer", maxWait: patienceMs });
    // Who is there is asked after the push has left: it must not wait for a leader.
    const peers = (await this.metaPeers()) ?? [];
    const awaited = new Set(peers.filter(({ offline }) => !offline).map(({ name }) => name));
    for await (const message of answers) {
      const answer = UpdateAnswer.safeParse(message.json());
      if (!answer.success) continue;
      const { server, error } = answer.data;
      if (error)
        throw new DvError(
          "NATS_SERVER_FAILED",
          `The server ${server.name} refuses the account ${claimsOf(jwt).sub}: ${error.description}.`,
        );
      taken.add(server.name);
      awaited.delete(server.name);
      if (peers.length > 0 && awaited.size === 0) break;
    }
    const missing = peers.map(({ name }) => name).filter((name) => !taken.has(name));
    return { taken: [...taken].sort(), missing: missing.sort() };
  }

  async accounts(keys: readonly string[], waitMs: number): Promise<readonly string[]> {
    const found = new Set<string>();
    const ask = async (account: string) => {
      const options = { strategy: "stall", maxWait: FIRST_ANSWER_MS, stall: waitMs } as const;
      const answers = await this.#connection.requestMany(ACCOUNT_STATE, JSON.stringify({ account }), options);
      for await (const message of answers) {
        const state = AccountState.safeParse(message.json());
        if (state.success) found.add(state.data.data.account_detail.jwt);
      }
    };
    await Promise.all(keys.map(ask));
    return [...found];
  }

  replicas(patienceMs = 1_000): Promise<ReplicaLook> {
    return lookAtReplicas(this.#connection, patienceMs);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async #ask(subject: string, body: unknown): Promise<void> {
    await this.#answer(subject, body);
  }

  async #answer(subject: string, body: unknown): Promise<unknown> {
    const reply = await this.#connection
      .request(subject, JSON.stringify(body), { timeout: 500 })
      .catch(() => undefined);
    return reply?.json();
  }
}
