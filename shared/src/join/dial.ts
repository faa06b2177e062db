// SPDX-License-Identifier: Apache-2.0
/** Calls another machine's join port: TLS, proof in both directions, then a channel for questions. */
import { connect, type TLSSocket } from "node:tls";
import { type Clock, systemClock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import { spkiHashOf } from "../pki/certificate.ts";
import { type JoinChannel, openChannel } from "./channel.ts";
import { JoinFacts } from "./handshake.ts";
import { type JoinProof, proveAsJoiner } from "./prove-joiner.ts";
import { joinTls, sessionOf } from "./session.ts";

const PROOF_MS = 10_000;

/** Whom to call, as whom, and by what to believe each other. */
export interface DialOptions {
  /** Address, or name of a machine. */
  readonly host: string;
  readonly port: number;
  /** The node's Ed25519 key, PKCS#8 in PEM. */
  readonly identityPem: string;
  /** Certificate to show for that key; its dates count for nobody. Default: a new one. */
  readonly certificatePem?: string;
  /** Cluster that is looked for; without it, whoever has the proof will do. */
  readonly cluster?: string;
  readonly proof: JoinProof;
  /** What to tell of this machine; flat, at most about 3 KiB. Part of the transcript. */
  readonly facts?: JoinFacts;
  /** Gives the attempt up; afterwards it has no effect. */
  readonly signal?: AbortSignal;
  /** For everything up to the end of the proof; default 10 s. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

/**
 * Calls a join port and proves both ends to each other. Tries one kind of proof, once.
 * @throws JOIN_PROOF_FAILED when the other end cannot prove itself or does not believe us; JOIN_VERSION when no version is common;
 * JOIN_MODE_REFUSED when nobody is let in this way now; JOIN_UNREACHABLE; INVALID_ARGUMENT for a weak secret or no Ed25519 key
 */
export async function dialJoin(options: DialOptions): Promise<JoinChannel> {
  const { host, port, identityPem, proof, clock = systemClock, timeoutMs = PROOF_MS } = options;
  const facts = JoinFacts.safeParse(options.facts ?? {});
  if (!facts.success)
    throw new DvError("INVALID_ARGUMENT", "Facts are a flat list of short values.", { cause: facts.error });
  const tls = await joinTls(identityPem, options.certificatePem);
  const done = new AbortController();
  const socket = connect({ host, port, ...tls, rejectUnauthorized: false });
  const cut = () => socket.destroy();
  options.signal?.addEventListener("abort", cut, { once: true });
  if (options.signal?.aborted) cut();
  void clock.sleep(timeoutMs, done.signal).then(() => !done.signal.aborted && cut());
  try {
    await secured(socket);
    const session = sessionOf(socket, spkiHashOf(identityPem));
    const { peer, cluster } = await proveAsJoiner(session, { proof, cluster: options.cluster, facts: facts.data });
    return openChannel(session.stream, peer, cluster, clock);
  } catch (error) {
    socket.destroy();
    throw named(error, `${host}:${port}`);
  } finally {
    done.abort();
    options.signal?.removeEventListener("abort", cut);
  }
}

/** Resolves when the handshake of TLS is over. */
function secured(socket: TLSSocket): Promise<void> {
  let cause: Error | undefined;
  // Stays for the life of the connection: what ends it later shows as its end.
  socket.on("error", (error) => {
    cause ??= error;
  });
  return new Promise((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("close", () => reject(new DvError("JOIN_UNREACHABLE", "No TLS session came about.", { cause })));
  });
}

/** Says which machine an error is about. */
function named(error: unknown, where: string): DvError {
  const known = toDvError(error);
  return new DvError(known.code, `${where}: ${known.message}`, { cause: known.cause ?? error, details: known.details });
}
