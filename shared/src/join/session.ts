// SPDX-License-Identifier: Apache-2.0
/**
 * One TLS 1.3 session of the join port as both ends see it. Certificates are the nodes' own and are checked by nobody: only their
 * keys count, and only after the proof. Here, and nowhere else, is a certificate accepted that no authority vouches for.
 */
import type { TLSSocket } from "node:tls";
import { DvError } from "../errors.ts";
import { nodeIdOf } from "../node-files.ts";
import { selfSigned } from "../pki/authority.ts";
import { spkiHashOfKey } from "../pki/certificate.ts";
import { FrameStream } from "./frames.ts";
import type { ProofMode } from "./transcript.ts";

/** Label of the exporter (RFC 8446 7.5). */
const EXPORTER = "EXPORTER-dvj1";
const EXPORTER_BYTES = 32;

/** Who is at the other end. Believed for what its `proof` says, and for nothing before that. */
export interface Peer {
  /** Node id that belongs to the peer's key. */
  readonly id: string;
  /** SHA-256 over the peer's public key (SPKI), hexadecimal. */
  readonly spki: string;
  readonly proof: ProofMode;
  /** With proof `words`: what both screens show. Nothing is proved before a person has compared them. */
  readonly words?: string;
}

/** A session before the proof. */
export interface Session {
  readonly own: string;
  readonly peer: { readonly id: string; readonly spki: string };
  readonly exporter: Buffer;
  readonly stream: FrameStream;
}

/** Settings of TLS on the join port: version 1.3 and Ed25519 keys, nothing else. A certificate may be given; by default one is made for the identity. */
export async function joinTls(identityPem: string, certificatePem?: string) {
  const own = certificatePem ?? (await selfSigned(identityPem)).certificatePem;
  return { key: identityPem, cert: own, minVersion: "TLSv1.3", maxVersion: "TLSv1.3", sigalgs: "ed25519" } as const;
}

/**
 * What binds a proof to this session. @throws JOIN_PROOF_FAILED when the peer shows no certificate, or our own key: then somebody
 * sends back to us what we have sent, or a disk was cloned
 */
export function sessionOf(socket: TLSSocket, own: string): Session {
  const key = socket.getPeerX509Certificate()?.publicKey;
  if (!key) throw proofFailed("The other end shows no certificate.");
  const spki = spkiHashOfKey(key);
  if (spki === own) throw proofFailed("The other end shows this machine's own key.");
  return {
    own,
    peer: { id: nodeIdOf(key), spki },
    exporter: socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER, Buffer.alloc(0)),
    stream: new FrameStream(socket),
  };
}

/** The next frame before the proof. @throws JOIN_PROOF_FAILED for what is no frame, JOIN_UNREACHABLE when the connection has ended */
export async function nextFrame({ stream }: Session): Promise<unknown> {
  let frame: unknown;
  try {
    frame = await stream.next();
  } catch (error) {
    throw proofFailed("It does not speak the join protocol.", error);
  }
  if (frame === undefined)
    throw new DvError("JOIN_UNREACHABLE", "It ended the connection before it had proved itself.");
  return frame;
}

/** The other end has not proved what it had to. */
export function proofFailed(message: string, cause?: unknown): DvError {
  return new DvError("JOIN_PROOF_FAILED", message, { cause });
}
