// SPDX-License-Identifier: Apache-2.0
/** What checking the replicas asks of the servers of the bus. Made on servers only, as it needs the cluster's secrets. */
import { stepDownStream } from "@debvisor/shared/bus/admin";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import { replicaConsumers } from "@debvisor/shared/bus/permissions";
import type { ReplicaLook } from "@debvisor/shared/bus/replica-look";
import { openReplicaReader, type ReplicaReader } from "@debvisor/shared/bus/replica-reader";
import { connectSystem, type SystemConnection } from "@debvisor/shared/bus/system";
import { type Credential, createIssuer } from "@debvisor/shared/bus/trust";
import type { Logger } from "@debvisor/shared/log";
import type { BusControlOptions } from "./bus-control.ts";

/** What the checks ask. */
export interface ReplicaControl {
  /** What every server says of its replicas. @throws NATS_SERVER_FAILED when none is within reach */
  look(): Promise<ReplicaLook>;
  /** Has others lead what a server leads, so that nobody waits for an election when it stops. Asked once; look at what came of it. */
  handOver(server: string, look: ReplicaLook): Promise<void>;
  /** Opens readings of one stream on several servers. @throws BUS_UNAVAILABLE */
  openReaders(stream: string, servers: readonly string[], from: number, to: number): Promise<ReplicaReaders>;
}

/** Readings of the same range of a stream on several servers. */
export interface ReplicaReaders {
  readonly readers: readonly ReplicaReader[];
  close(): Promise<void>;
}

const CONNECT_MS = 3_000;

/** Makes it. Connects for each question, to whichever server answers: the one of before may be stopped for its replica's sake. */
export function createReplicaControl(options: BusControlOptions & { readonly log: Logger }): ReplicaControl {
  const issuer = createIssuer(options.seeds);
  let system: Credential | undefined;
  const withSystem = async <T>(work: (connection: SystemConnection) => Promise<T>): Promise<T> => {
    system ??= await issuer.forSystem(options.node);
    const connection = await connectSystem(options.servers(), system, CONNECT_MS, options.tls);
    try {
      return await work(connection);
    } finally {
      await connection.close();
    }
  };
  return {
    look: () => withSystem((connection) => connection.replicas()),
    handOver: (server, look) =>
      withSystem(async (connection) => {
        const bus = await options.connectAdmin();
        try {
          await Promise.all(ledBy(server, look).map(([stream, to]) => stepDownStream(bus.connection, stream, to)));
        } finally {
          await bus.close();
        }
        const [preferred] = look.servers.filter((name) => name !== server);
        // The first of the list leads the group of servers.
        if (look.servers[0] === server && preferred !== undefined) await connection.stepDown(preferred);
      }),
    openReaders: async (stream, servers, from, to) => {
      const credential = await issuer.forReplicaReader(options.node);
      const bus = await connectReader(options, credential);
      const readers: ReplicaReader[] = [];
      const close = async () => {
        await Promise.all(readers.map((reader) => reader.close()));
        await bus.close();
      };
      try {
        const slots = replicaConsumers(credential.user).length;
        for (const [slot, server] of servers.slice(0, slots).entries()) {
          const reading = { user: credential.user, slot, stream, server, from, to };
          readers.push(await openReplicaReader(bus.connection, reading));
        }
        return { readers, close };
      } catch (error) {
        await close();
        throw error;
      }
    },
  };
}

function connectReader(
  options: BusControlOptions & { readonly log: Logger },
  credential: Credential,
): Promise<ConnectedBus> {
  const { node, tls, log } = options;
  return connectBus({
    servers: options.servers(),
    credential,
    origin: "core",
    node: { id: node, name: node },
    version: "",
    log,
    ...(tls ? { tls } : {}),
  });
}

/** Streams that a server leads, each with another server that holds it. */
function ledBy(server: string, { replicas }: ReplicaLook): [string, string][] {
  return replicas.flatMap((one): [string, string][] => {
    const to = one.peers.find((peer) => peer !== server);
    return one.server === server && one.leader === server && to !== undefined ? [[one.stream, to]] : [];
  });
}
