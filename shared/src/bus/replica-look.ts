// SPDX-License-Identifier: Apache-2.0
/**
 * What each server itself says of the replicas that it holds. Not what a stream's leader says of the others: it calls a replica
 * current that lost half of its messages (RULES.md F8, F9), while that server's own counters tell.
 */
import type { NatsConnection } from "@nats-io/nats-core";
import { z } from "zod";
import { systemClock } from "../clock.ts";

/** A replica of a stream, in the words of the server that holds it. */
export interface Replica {
  readonly server: string;
  readonly stream: string;
  readonly messages: number;
  /** Sequence of the oldest message; `last + 1` when there is none. */
  readonly first: number;
  readonly last: number;
  /** Sequences between first and last that are not there. */
  readonly deleted: number;
  /** When the first and the last message were stored, in milliseconds since 1970; undefined when there is none. */
  readonly firstAt: number | undefined;
  readonly lastAt: number | undefined;
  /** Who leads the stream, as this server sees it. */
  readonly leader: string | undefined;
  /** Servers that hold the stream, this one included, as this server sees it. */
  readonly peers: readonly string[];
  /** Name of the stream's raft group, under which the server keeps its log. */
  readonly group: string | undefined;
}

/** One look at all servers. */
export interface ReplicaLook {
  /** When it was made, in milliseconds since 1970. */
  readonly at: number;
  /** Servers of the group, whether they answered or not; empty when it has no leader. */
  readonly servers: readonly string[];
  /** Those that answered, and why one says that it is not healthy. */
  readonly answered: ReadonlyMap<string, string | undefined>;
  readonly replicas: readonly Replica[];
}

/** Every server answers these. */
const JETSTREAM = "$SYS.REQ.SERVER.PING.JSZ";
const HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ";

const Named = z.object({ server: z.object({ name: z.string() }) });

const StreamDetail = z.object({
  name: z.string(),
  state: z.object({
    messages: z.number(),
    first_seq: z.number(),
    last_seq: z.number(),
    first_ts: z.string(),
    last_ts: z.string(),
    num_deleted: z.number().optional(),
  }),
  cluster: z
    .object({
      leader: z.string().optional(),
      raft_group: z.string().optional(),
      replicas: z.array(z.object({ name: z.string() })).optional(),
    })
    .optional(),
});

/** Answer to `JSZ`; sample in `samples/`. */
const JetStreamAnswer = Named.extend({
  data: z.object({
    meta_cluster: z
      .object({
        leader: z.string().optional(),
        replicas: z.array(z.object({ name: z.string() })).optional(),
        cluster_size: z.number().optional(),
      })
      .optional(),
    account_details: z.array(z.object({ stream_detail: z.array(StreamDetail).optional() })).optional(),
  }),
});
type JetStreamAnswer = z.output<typeof JetStreamAnswer>;

const HealthAnswer = Named.extend({ data: z.object({ status: z.string(), error: z.string().optional() }) });

/** Asks every server. Resolves when as many have answered as the group has, or after `patienceMs`. */
export async function lookAtReplicas(connection: NatsConnection, patienceMs: number): Promise<ReplicaLook> {
  const ask = { accounts: true, streams: true };
  const states = await gather(connection, JETSTREAM, ask, JetStreamAnswer, patienceMs, (all) => sizeOf(all));
  const health = await gather(connection, HEALTH, {}, HealthAnswer, patienceMs, () => states.length);
  return toLook(states, health, systemClock.now());
}

/** Puts answers together. Exported for tests on what a server really printed. */
export function toLook(states: readonly unknown[], health: readonly unknown[], at: number): ReplicaLook {
  const spoken = states.map((answer) => JetStreamAnswer.parse(answer));
  const said = new Map(
    health.map((answer) => {
      const { server, data } = HealthAnswer.parse(answer);
      return [server.name, data.status === "ok" ? undefined : (data.error ?? data.status)] as const;
    }),
  );
  const led = spoken.find(({ server, data }) => data.meta_cluster?.leader === server.name)?.data.meta_cluster;
  const servers = led ? [led.leader, ...(led.replicas ?? []).map(({ name }) => name)] : [];
  return {
    at,
    servers: servers.filter((name) => name !== undefined),
    answered: new Map(
      spoken.map(({ server }) => [
        server.name,
        said.has(server.name) ? said.get(server.name) : "it does not say whether it is healthy",
      ]),
    ),
    replicas: spoken.flatMap(replicasOf),
  };
}

function replicasOf({ server, data }: JetStreamAnswer): Replica[] {
  const details = (data.account_details ?? []).flatMap((account) => account.stream_detail ?? []);
  return details.map(({ name, state, cluster }) => ({
    server: server.name,
    stream: name,
    messages: state.messages,
    // An empty stream that never had a message says 0 of both.
    first: state.messages === 0 ? state.last_seq + 1 : state.first_seq,
    last: state.last_seq,
    deleted: state.num_deleted ?? 0,
    firstAt: state.messages === 0 ? undefined : Date.parse(state.first_ts),
    lastAt: state.messages === 0 ? undefined : Date.parse(state.last_ts),
    leader: cluster?.leader,
    peers: [...new Set([server.name, cluster?.leader, ...(cluster?.replicas ?? []).map((peer) => peer.name)])].filter(
      (peer) => peer !== undefined && peer !== "",
    ) as string[],
    group: cluster?.raft_group,
  }));
}

function sizeOf(answers: readonly JetStreamAnswer[]): number {
  return Math.max(1, ...answers.map(({ data }) => data.meta_cluster?.cluster_size ?? 0));
}

async function gather<T>(
  connection: NatsConnection,
  subject: string,
  ask: unknown,
  schema: z.ZodType<T>,
  patienceMs: number,
  wanted: (answers: readonly T[]) => number,
): Promise<T[]> {
  const answers: T[] = [];
  const options = { strategy: "timer", maxWait: patienceMs } as const;
  for await (const message of await connection.requestMany(subject, JSON.stringify(ask), options)) {
    const answer = schema.safeParse(message.json());
    if (answer.success) answers.push(answer.data);
    if (answers.length > 0 && answers.length >= wanted(answers)) break;
  }
  return answers;
}
