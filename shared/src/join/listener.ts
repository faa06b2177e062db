// SPDX-License-Identifier: Apache-2.0
/**
 * The join port. Anybody on the LAN may call it, so everything up to the proof is bounded: connections per source and in all
 * (gate.ts), bytes (frames.ts), and ten seconds of time.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { type Clock, systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { spkiHashOf } from "../pki/certificate.ts";
import { serveChannel } from "./channel.ts";
import { ConnectionGate, type GateLimits, type Place } from "./gate.ts";
import type { JoinAnswer, JoinMessage } from "./messages.ts";
import { NonceCache } from "./nonces.ts";
import { type ProofSources, proveAsResponder } from "./prove-responder.ts";
import { joinTls, type Peer, sessionOf } from "./session.ts";

/** Bounds of a join port. */
export interface JoinLimits extends GateLimits {
  /** From the first packet to the end of the proof. */
  readonly proofMs: number;
  /** Silence after which a proved connection ends. */
  readonly idleMs: number;
  /** Proved connections at once; beyond that the oldest goes. */
  readonly proved: number;
}

const LIMITS: JoinLimits = { perSecond: 5, burst: 20, unproved: 64, proofMs: 10_000, idleMs: 120_000, proved: 256 };
/** How long a connection that is over may take to carry its last frame away. */
const LINGER_MS = 500;
const REPORT_MS = 10_000;

/** What a join port needs. */
export interface ListenerOptions extends ProofSources {
  /** Address to listen on; `::` is every address of both families. */
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  /** The node's Ed25519 key, PKCS#8 in PEM. */
  readonly identityPem: string;
  /** Certificate to show for that key; its dates count for nobody. Default: a new one. */
  readonly certificatePem?: string;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly limits?: Partial<JoinLimits>;
  /** Answers a proved peer; a `DvError` thrown is what the peer gets. One question of a connection at a time. */
  handle(peer: Peer, message: JoinMessage): Promise<JoinAnswer>;
  /** The connection of a peer that was taken in has ended. */
  ended?(peer: Peer): void;
}

/** A join port that listens. */
export interface JoinListener {
  readonly port: number;
  /** Ends every connection; resolves within a second. May be called again. */
  stop(): Promise<void>;
}

/** Opens the join port. @throws PORT_BUSY, and INVALID_ARGUMENT for an address that is none of this machine's or no Ed25519 key */
export async function startJoinListener(options: ListenerOptions): Promise<JoinListener> {
  const context = createSecureContext(await joinTls(options.identityPem, options.certificatePem));
  const port = new JoinPort(options, context);
  const server = createServer({ noDelay: true }, (raw) => port.receive(raw));
  await listen(server, options.host, options.port);
  server.on("error", (error) => options.log.error({ err: error }, "the join port takes no connections"));
  let stopped: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    stop: () => {
      stopped ??= new Promise((resolve) => {
        server.close(() => resolve());
        port.endAll();
      });
      return stopped;
    },
  };
}

class JoinPort {
  readonly #options: ListenerOptions;
  readonly #context: SecureContext;
  readonly #clock: Clock;
  readonly #limits: JoinLimits;
  readonly #gate: ConnectionGate;
  readonly #nonces: NonceCache;
  readonly #own: string;
  readonly #all = new Set<Socket>();
  /** In the order of their proofs. */
  readonly #proved = new Set<Socket>();
  #refused = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ListenerOptions, context: SecureContext) {
    this.#options = options;
    this.#context = context;
    this.#clock = options.clock ?? systemClock;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#gate = new ConnectionGate(this.#clock, this.#limits);
    this.#nonces = new NonceCache(this.#clock);
    this.#own = spkiHashOf(options.identityPem);
  }

  receive(raw: Socket): void {
    // An address that is gone belongs to a connection that is.
    const from = raw.remoteAddress ?? "";
    raw.on("error", () => undefined);
    const place = this.#gate.enter(from, () => raw.destroy());
    if (!place) {
      raw.resetAndDestroy();
      this.#report(from, new DvError("RATE_LIMITED", "It comes too often."));
      return;
    }
    this.#all.add(raw);
    raw.once("close", () => {
      this.#all.delete(raw);
      this.#proved.delete(raw);
      this.#gate.leave(place);
    });
    void this.#serve(raw, place).catch((error) => this.#report(from, error));
  }

  endAll(): void {
    for (const raw of this.#all) raw.destroy();
  }

  async #serve(raw: Socket, place: Place): Promise<void> {
    const socket = new TLSSocket(raw, {
      isServer: true,
      secureContext: this.#context,
      requestCert: true,
      rejectUnauthorized: false,
    });
    const done = new AbortController();
    void this.#clock.sleep(this.#limits.proofMs, done.signal).then(() => !done.signal.aborted && raw.destroy());
    let peer: Peer | undefined;
    try {
      await secured(socket);
      const session = sessionOf(socket, this.#own);
      const proved = await proveAsResponder(session, this.#options, this.#nonces);
      done.abort();
      this.#gate.leave(place);
      this.#admit(raw, socket);
      peer = proved;
      await serveChannel(session.stream, (message) => this.#options.handle(proved, message), this.#options.log);
    } finally {
      done.abort();
      if (peer) this.#options.ended?.(peer);
      await this.#finish(raw, socket);
    }
  }

  #admit(raw: Socket, socket: TLSSocket): void {
    this.#proved.add(raw);
    const [oldest] = this.#proved;
    if (this.#proved.size > this.#limits.proved) oldest?.destroy();
    socket.setTimeout(this.#limits.idleMs, () => raw.destroy());
  }

  /** Lets the last frame out, then ends. */
  async #finish(raw: Socket, socket: TLSSocket): Promise<void> {
    const gone = new AbortController();
    raw.once("close", () => gone.abort());
    socket.end();
    if (!raw.destroyed) await this.#clock.sleep(LINGER_MS, gone.signal);
    raw.destroy();
  }

  /** Refusals are counted and told of at most every ten seconds: who floods the port must not flood the log. */
  #report(from: string, error: unknown): void {
    const { log } = this.#options;
    const known = error instanceof DvError ? error : undefined;
    this.#refused++;
    const now = this.#clock.monotonic();
    if (now - this.#reportedAt < REPORT_MS) return;
    const reason = known ? { code: known.code, why: known.message } : { err: error };
    log.warn({ refused: this.#refused, from, ...reason }, "the join port refused");
    this.#reportedAt = now;
    this.#refused = 0;
  }
}

/** Resolves when the handshake of TLS is over. */
function secured(socket: TLSSocket): Promise<void> {
  socket.on("error", () => undefined);
  return new Promise((resolve, reject) => {
    socket.once("secure", resolve);
    socket.once("close", () => reject(new DvError("JOIN_UNREACHABLE", "No TLS session came about.")));
  });
}

/** A kernel without IPv6 has no `::`; then every IPv4 address it is. */
async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    await listening(server, host, port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (host === "::" && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL"))
      return await listen(server, "0.0.0.0", port);
    if (code === "EADDRINUSE") throw new DvError("PORT_BUSY", `Port ${port} on ${host} is in use.`, { cause: error });
    throw new DvError("INVALID_ARGUMENT", `The join port cannot listen on ${host}, port ${port}.`, { cause: error });
  }
}

async function listening(server: Server, host: string, port: number): Promise<void> {
  server.listen({ host, port });
  await once(server, "listening");
}
