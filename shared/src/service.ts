// SPDX-License-Identifier: Apache-2.0
/**
 * What a service is. Every service has the same life: `start` once the bus is connected, `ready` when asked, `stop` to
 * drain. Signals, connections, configuration and health are the runner's business (`service-runner.ts`), never a service's.
 */
import type { z } from "zod";
import type { Anchor } from "./audit/trust.ts";
import type { Bus } from "./bus/bus.ts";
import type { ConnectedBus } from "./bus/connect.ts";
import type { Clock } from "./clock.ts";
import type { Logger } from "./log.ts";
import type { Tracing } from "./telemetry.ts";

/** The node that a service runs on. */
export interface NodeIdentity {
  readonly id: string;
  readonly name: string;
  /** `server` or `worker`. */
  readonly roles: readonly string[];
  /** Cluster id, for display. */
  readonly cluster: string;
  readonly version: string;
  /** New at every start of the service. */
  readonly bootId: string;
  /** The host's root: `/` on a real node, a folder in the local cluster (DESIGN.md 8a). File operations stay inside. */
  readonly root: string;
  /** Folder with the node's files (node-files.ts). */
  readonly dir: string;
  /** Folder in which the service may keep its own files. */
  readonly stateDir: string;
  /** Addresses that others may reach the node at. */
  readonly addresses: readonly string[];
  /** 32-byte key from which members derive the mDNS tag (DESIGN.md 7). */
  readonly advertiseKey: Uint8Array;
  /** By which the cluster's signatures are checked. */
  readonly trust: Anchor;
}

/** What a service is given. `core` is the connection of the core part, present on server nodes only. */
export interface ServiceContext<C = unknown> {
  readonly config: C;
  readonly log: Logger;
  readonly clock: Clock;
  /** The process's spans. Requests that the bus answers for a service have theirs already. */
  readonly tracing: Tracing;
  readonly node: NodeIdentity;
  /** Connection of the node part, with the node's own credential (account NODES). */
  readonly nodeBus: Bus;
  /** Connection of the core part, with the service's credential (account CORE). */
  readonly coreBus: Bus | undefined;
  /** On server nodes, for a service with `administersStreams`: connects as the stream administrator. The caller closes the connection. */
  readonly connectAdmin?: () => Promise<ConnectedBus>;
}

/** A service that runs. */
export interface RunningService {
  /** Undefined when ready, otherwise what it waits for. */
  ready(): string | undefined;
  /** Stops taking work, ends what runs, flushes. Resolves within 3 s. */
  stop(): Promise<void>;
}

/** A service as its `service.ts` declares it. */
export interface ServiceDefinition<S extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** Schema of everything configurable, with defaults; file `<service>.yaml`, environment `DV_<SERVICE>_<KEY>`, flags. */
  readonly config: S;
  /** Whether it runs on server nodes only (the gateway). */
  readonly serversOnly?: boolean;
  /** Whether it creates the streams and raises their replicas; its unit alone gets the administrator's credential. */
  readonly administersStreams?: boolean;
  /** What has to be true of the node's files before the bus is connected to; on server nodes only. */
  prepare?(dir: string, log: Logger): Promise<void>;
  /** Called when the bus has not been connected a second after the start; `signal` ends it once it is. Does not throw. */
  helpConnect?(node: Pick<NodeIdentity, "dir" | "name" | "roles">, context: HelpContext): Promise<void>;
  start(context: ServiceContext<z.output<S>>): Promise<RunningService>;
}

/** With what a service may help to get connected. */
export interface HelpContext extends Pick<ServiceContext, "clock" | "log"> {
  readonly signal: AbortSignal;
}

/** Declares a service; only fixes the types. */
export function defineService<S extends z.ZodType>(definition: ServiceDefinition<S>): ServiceDefinition<S> {
  return definition;
}
