// SPDX-License-Identifier: Apache-2.0
/** The joiner's side of the proof. Nothing of this machine but its key, nonce and facts is said before the other end has proved itself. */
import type { z } from "zod";
import { DvError } from "../errors.ts";
import { type CpaceRun, startCpace } from "./cpace.ts";
import {
  Accepted,
  checkSecret,
  commonVersion,
  cpaceOptions,
  type Hello,
  type JoinFacts,
  newNonce,
  Refused,
  ResponderNumber,
  toText,
  transcriptOfSession,
  VERSIONS,
  Welcome,
} from "./handshake.ts";
import { nextFrame, type Peer, proofFailed, type Session } from "./session.ts";
import { isProof, proofKey, proofOf } from "./transcript.ts";
import { isCommittedTo, wordsOf } from "./words.ts";

/** By what the two sides believe each other. */
export type JoinProof =
  /** The cluster secret, 32 random bytes. */
  | { readonly kind: "secret"; readonly secret: Uint8Array }
  /** A one-time code; every attempt with it is one guess for whoever answers, so it is not repeated by itself. */
  | { readonly kind: "code"; readonly code: string }
  /** Nothing yet: both sides show words, and the channel is believed once a person has compared them. */
  | { readonly kind: "words" }
  /** Both are members: hashes of the keys that the other end may have. */
  | { readonly kind: "member"; readonly spkis: readonly string[] };

/** What a joiner brings along. */
export interface JoinerOptions {
  readonly proof: JoinProof;
  /** Cluster that is looked for; undefined when whoever has the proof will do. */
  readonly cluster: string | undefined;
  readonly facts: JoinFacts;
}

/**
 * Proves this machine to the other end and the other end to it.
 * @throws JOIN_PROOF_FAILED, JOIN_VERSION, JOIN_MODE_REFUSED, JOIN_UNREACHABLE, and INVALID_ARGUMENT for a weak secret
 */
export async function proveAsJoiner(
  session: Session,
  options: JoinerOptions,
): Promise<{ peer: Peer; cluster: string }> {
  const { proof } = options;
  if (proof.kind === "secret") checkSecret(proof.secret);
  if (proof.kind === "member" && !proof.spkis.includes(session.peer.spki))
    throw proofFailed(`The machine ${session.peer.id} is none of the members that may answer.`);
  const run = proof.kind === "code" ? startCpace(cpaceOptions(session, "joiner", proof.code)) : undefined;
  const hello: Hello = {
    type: "hello",
    versions: [...VERSIONS],
    modes: [proof.kind],
    nonce: newNonce(),
    facts: options.facts,
    ...(run ? { share: Buffer.from(run.message.share) } : {}),
  };
  const { nonce, share, ...rest } = hello;
  await session.stream.send({ ...rest, nonce: toText(nonce), ...(share ? { share: toText(share) } : {}) });
  const welcome = await expectFrame(session, Welcome);
  checkWelcome(welcome, hello, options);
  const transcript = transcriptOfSession(session, "joiner", hello, welcome);
  if (proof.kind === "secret") await proveBySecret(session, proof.secret, welcome, transcript);
  if (run) await proveByCode(session, run, welcome, transcript);
  const words = proof.kind === "words" ? { words: await showWords(session, welcome, transcript) } : {};
  return { peer: { ...session.peer, proof: proof.kind, ...words }, cluster: welcome.cluster };
}

/** Whether the answer fits what was asked. Nothing is negotiated downwards: the one mode offered is the one used. */
function checkWelcome(welcome: Welcome, hello: Hello, { cluster }: JoinerOptions): void {
  if (commonVersion(VERSIONS, welcome.versions) !== welcome.version) throw versionError(welcome.versions);
  if (welcome.mode !== hello.modes[0])
    throw proofFailed(`It answered with the proof "${welcome.mode}", which was not asked for.`);
  if (cluster !== undefined && welcome.cluster !== cluster)
    throw proofFailed(`It belongs to cluster ${welcome.cluster}, and ${cluster} is looked for.`);
}

async function proveBySecret(
  session: Session,
  secret: Uint8Array,
  welcome: Welcome,
  transcript: Buffer,
): Promise<void> {
  const key = proofKey("secret", secret, welcome.cluster);
  if (!welcome.proof || !isProof(key, "responder", transcript, welcome.proof))
    throw proofFailed(`The machine ${session.peer.id} does not have the secret of cluster ${welcome.cluster}.`);
  await session.stream.send({ type: "proof", proof: toText(proofOf(key, "joiner", transcript)) });
  await expectFrame(session, Accepted);
}

async function proveByCode(session: Session, run: CpaceRun, welcome: Welcome, transcript: Buffer): Promise<void> {
  const shared = welcome.share && run.finish({ share: welcome.share, data: new Uint8Array() });
  if (!shared) throw proofFailed(`The machine ${session.peer.id} takes no part in the exchange by code.`);
  const key = proofKey("code", shared, welcome.cluster);
  await session.stream.send({ type: "proof", proof: toText(proofOf(key, "joiner", transcript)) });
  const { proof } = await expectFrame(session, Accepted);
  if (!proof || !isProof(key, "responder", transcript, proof))
    throw proofFailed(`The machine ${session.peer.id} does not know the code.`);
}

/** The two sides show the same words unless somebody is in between; whether they do, people say. */
async function showWords(session: Session, welcome: Welcome, transcript: Buffer): Promise<string> {
  if (!welcome.commitment) throw proofFailed(`The machine ${session.peer.id} is not bound to a number of its own.`);
  const joiner = newNonce();
  await session.stream.send({ type: "number", number: toText(joiner) });
  const { number: responder, salt } = await expectFrame(session, ResponderNumber);
  if (!isCommittedTo(welcome.commitment, responder, salt))
    throw proofFailed(`The machine ${session.peer.id} shows another number than the one it was bound to.`);
  return wordsOf(transcript, { joiner, responder });
}

/** The next frame, which has to be of this kind. */
async function expectFrame<T extends z.ZodType>(session: Session, schema: T): Promise<z.output<T>> {
  const frame = await nextFrame(session);
  const refused = Refused.safeParse(frame);
  if (refused.success) throw refusal(refused.data);
  const parsed = schema.safeParse(frame);
  if (!parsed.success) throw proofFailed("It does not speak the join protocol.", parsed.error);
  return parsed.data;
}

/** In our own words, because whoever refuses is not proved. */
function refusal({ code, versions }: Refused): DvError {
  if (code === "JOIN_VERSION") return versionError(versions);
  if (code === "JOIN_MODE_REFUSED") return new DvError(code, "The machine lets nobody in by this kind of proof now.");
  return proofFailed("The machine does not believe this one.");
}

function versionError(versions: readonly number[]): DvError {
  const named = (list: readonly number[]) => list.map((version) => `dvj/${version}`).join(", ");
  return new DvError("JOIN_VERSION", `The machine speaks ${named(versions)}; this one speaks ${named(VERSIONS)}.`, {
    details: { own: VERSIONS, peer: versions },
  });
}
