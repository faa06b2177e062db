// SPDX-License-Identifier: Apache-2.0
/**
 * One bonjour-service instance on one interface. What bonjour-service 1.4.4 does not offer is reached through its responder
 * here and nowhere else: its records leave out the loopback and include link-local addresses, its TXT cannot be changed
 * without a goodbye, and its probe takes our own answer on another interface for a rival and withdraws the name.
 *
 * Checked with bonjour-service 1.4.4 on multicast-dns 7.2.5.
 */
import Bonjour from "bonjour-service";
import { DvError } from "../errors.ts";
import { isOnLink, type MdnsInterface } from "./mdns-interfaces.ts";
import { type MdnsRecord, SERVICE_DOMAIN } from "./mdns-records.ts";

/** The parts of bonjour-service that its type declarations keep private. */
interface Internals {
  readonly server: {
    readonly mdns: {
      on(event: "error" | "warning", listener: (error: Error & { syscall?: string }) => void): void;
      on(event: "ready", listener: () => void): void;
      on(event: "query" | "response", listener: (packet: unknown, from: { address: string }) => void): void;
      respond(records: readonly MdnsRecord[], done?: (error?: Error | null) => void): void;
      query(name: string, type: string): void;
    };
    register(records: readonly MdnsRecord[]): void;
    unregister(records: readonly MdnsRecord[]): void;
  };
}

/** What happens on a port. */
export interface PortEvents {
  onResponse(packet: unknown, sender: string, at: string): void;
  /** Somebody, perhaps we, asked for DebVisor instances. */
  onQuestion(at: string): void;
  onError(error: DvError): void;
}

/** An open port. */
export interface MdnsPort {
  readonly at: MdnsInterface;
  /** Resolves once the socket is bound. @throws MDNS_UNAVAILABLE */
  readonly ready: Promise<void>;
  /** Asks who is there. */
  query(): void;
  /** Replaces the published records and tells the network. */
  publish(records: readonly MdnsRecord[]): void;
  /** Says goodbye to the published records; resolves when it is sent or after 300 ms. */
  withdraw(): Promise<void>;
  close(): Promise<void>;
}

const GOODBYE_MS = 300;
/** RFC 6762 §8.3: at least twice, one second apart; the third is for a network that comes up late. */
const ANNOUNCE_AGAIN_MS = [1_000, 4_000];

/** Opens a port. Returns at once; errors after `ready` go to `onError`. */
export function openPort(at: MdnsInterface, events: PortEvents): MdnsPort {
  const fail = (error: unknown) =>
    new DvError("MDNS_UNAVAILABLE", `Multicast DNS does not work on ${at.address}.`, {
      cause: error,
      details: { interface: at.address },
    });
  // `bind` must be 0.0.0.0: a socket bound to the unicast address gets no multicast on Linux.
  const options = { interface: at.address, bind: "0.0.0.0" } as unknown as ConstructorParameters<typeof Bonjour>[0];
  const bonjour = new Bonjour(options, (error: unknown) => events.onError(fail(error)));
  const { mdns } = (bonjour as unknown as Internals).server;
  const server = (bonjour as unknown as Internals).server;
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => undefined);
  let published: readonly MdnsRecord[] = [];
  let timers: NodeJS.Timeout[] = [];
  let closed = false;

  mdns.on("ready", () => ready.resolve());
  mdns.on("error", (error) => {
    ready.reject(fail(error));
    events.onError(fail(error));
  });
  // Warnings are mostly packets that do not decode, which anybody can send at any rate; only system errors are ours.
  mdns.on("warning", (error) => {
    if (error.syscall !== undefined) events.onError(fail(error));
  });
  mdns.on("response", (packet, { address }) => {
    if (!closed && isOnLink(at, address)) events.onResponse(packet, address, at.address);
  });
  mdns.on("query", (packet, { address }) => {
    if (!closed && isOnLink(at, address) && asksForUs(packet)) events.onQuestion(at.address);
  });

  const respond = (records: readonly MdnsRecord[], done?: () => void) =>
    mdns.respond(records, (error) => {
      if (error && !closed) events.onError(fail(error));
      done?.();
    });
  const clearTimers = () => {
    for (const timer of timers) clearTimeout(timer);
    timers = [];
  };

  return {
    at,
    ready: ready.promise,
    query: () => mdns.query(SERVICE_DOMAIN, "PTR"),
    publish(records) {
      clearTimers();
      server.unregister(published);
      server.register(records);
      published = records;
      respond([...records]);
      timers = ANNOUNCE_AGAIN_MS.map((ms) => setTimeout(() => respond([...records]), ms).unref());
    },
    async withdraw() {
      clearTimers();
      if (published.length === 0) return;
      const goodbye = published
        .filter(({ name }) => !name.startsWith("_services."))
        .map((record) => ({ ...record, ttl: 0 }));
      server.unregister(published);
      published = [];
      await bounded((done) => respond(goodbye, done));
    },
    async close() {
      if (closed) return;
      closed = true;
      clearTimers();
      await bounded((done) => bonjour.destroy(done));
    },
  };
}

function bounded(start: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GOODBYE_MS);
    start(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function asksForUs(packet: unknown): boolean {
  const { questions } = packet as { questions?: unknown };
  if (!Array.isArray(questions)) return false;
  return (questions as { name?: unknown; type?: unknown }[])
    .slice(0, 16)
    .some(
      ({ name, type }) =>
        typeof name === "string" && name.toLowerCase() === SERVICE_DOMAIN && (type === "PTR" || type === "ANY"),
    );
}
