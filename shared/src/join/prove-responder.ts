// SPDX-License-Identifier: Apache-2.0
/** The responder's side of the proof. What the joiner says is used for nothing but the proof until that holds. */
import type { z } from "zod";
import { DvError } from "../errors.ts";
import { startCpace } from "./cpace.ts";
import {
  AnyHello,
  checkSecret,
  commonVersion,
  cpaceOptions,
  Hello,
  JoinerNumber,
  type JoinFacts,
  newNonce,
  Proof,
  type Refused,
  toText,
  transcriptOfSession,
  VERSIONS,
  type WelcomeFacts,
} from "./handshake.ts";
import type { NonceCache } from "./nonces.ts";
import { nextFrame, type Peer, proofFailed, type Session } from "./session.ts";
import { isProof, type ProofMode, proofKey, proofOf } from "./transcript.ts";
import { commitmentTo, wordsOf } from "./words.ts";

/** The one-time code that is open now. */
export interface OpenCode {
  readonly code: string;
  /** Counts one try, durably, before it is judged; false when none is left. */
  spend(): Promise<boolean>;
}

/** What decides whether somebody is let in. */
export interface ProofSources {
  /** Name of the cluster that this machine belongs to or wants to form. */
  readonly cluster: string;
  /** The cluster secret; undefined while unattended joining is closed. */
  secret(): Uint8Array | undefined;
  /** The code that is open; undefined when there is none. */
  code(): Promise<OpenCode | undefined>;
  /** Ends the code, which was right; false when somebody else was quicker. */
  codeUsed(peer: Peer): Promise<boolean>;
  /** Takes in who waits until somebody has compared the words of the session; false when it may not. It shows them only afterwards. */
  words(peer: Peer, facts: JoinFacts): Promise<boolean>;
  /** Whether a key is a member's: true lets it in by proof `member`. */
  isMember(id: string, spki: string): boolean | undefined;
}

interface Round {
  readonly session: Session;
  readonly sources: ProofSources;
  readonly hello: Hello;
  readonly welcome: WelcomeFacts;
  readonly transcript: Buffer;
  readonly peer: Peer;
}

/**
 * Lets the other end prove itself, and proves this one to it. Who is refused is told the kind of refusal and nothing else.
 * @throws JOIN_PROOF_FAILED, JOIN_VERSION, JOIN_MODE_REFUSED, JOIN_UNREACHABLE, and whatever the sources throw
 */
export async function proveAsResponder(session: Session, sources: ProofSources, nonces: NonceCache): Promise<Peer> {
  try {
    return await prove(session, sources, nonces);
  } catch (error) {
    await session.stream.send({ type: "refused", code: refusalCode(error), versions: [...VERSIONS] } satisfies Refused);
    throw error;
  }
}

async function prove(session: Session, sources: ProofSources, nonces: NonceCache): Promise<Peer> {
  const hello = await readHello(session);
  if (!nonces.admit(hello.nonce)) throw proofFailed("A number that was drawn before came again.");
  const mode = modeOf(hello);
  const welcome: WelcomeFacts = {
    versions: [...VERSIONS],
    version: commonVersion(VERSIONS, hello.versions) ?? 0,
    mode,
    nonce: newNonce(),
    cluster: sources.cluster,
  };
  const transcript = transcriptOfHello(session, hello, welcome);
  const round: Round = { session, sources, hello, welcome, transcript, peer: { ...session.peer, proof: mode } };
  if (mode === "words") return await showWords(round);
  if (mode === "secret") await proveBySecret(round);
  else if (mode === "code") await proveByCode(round);
  else await proveByKey(round);
  return round.peer;
}

async function proveBySecret(round: Round): Promise<void> {
  const { session, sources, transcript } = round;
  const secret = sources.secret();
  if (!secret) throw closed("Joining by the cluster secret is closed.");
  checkSecret(secret);
  const key = proofKey("secret", secret, sources.cluster);
  await sendWelcome(round, { proof: toText(proofOf(key, "responder", transcript)) });
  const { proof } = await expectFrame(session, Proof);
  if (!isProof(key, "joiner", transcript, proof)) throw proofFailed("It does not have the cluster secret.");
  await session.stream.send({ type: "accepted" });
}

async function proveByCode(round: Round): Promise<void> {
  const { session, sources, hello, transcript, peer } = round;
  const open = await sources.code();
  if (!open) throw closed("No code is open.");
  if (!hello.share) throw proofFailed("It offers a code and takes no part in the exchange.");
  const run = startCpace(cpaceOptions(session, "responder", open.code));
  const shared = run.finish({ share: hello.share, data: new Uint8Array() });
  if (!shared) throw proofFailed("Its share of the exchange is none.");
  await sendWelcome(round, { share: toText(run.message.share) });
  const { proof } = await expectFrame(session, Proof);
  // A try counts before it is judged: who cuts the connection now, or crashes us, has had it all the same.
  if (!(await open.spend())) throw closed("The code has no tries left.");
  const key = proofKey("code", shared, sources.cluster);
  if (!isProof(key, "joiner", transcript, proof)) throw proofFailed("It does not know the code.");
  if (!(await sources.codeUsed(peer))) throw closed("The code has been used by another machine.");
  await session.stream.send({ type: "accepted", proof: toText(proofOf(key, "responder", transcript)) });
}

/** Nobody is proved by this: people compare what it leads to. */
async function showWords(round: Round): Promise<Peer> {
  const { session, sources, hello, transcript, peer } = round;
  const [responder, salt] = [newNonce(), newNonce()];
  await sendWelcome(round, { commitment: toText(commitmentTo(responder, salt)) });
  const { number: joiner } = await expectFrame(session, JoinerNumber);
  const waiting = { ...peer, words: wordsOf(transcript, { joiner, responder }) };
  if (!(await sources.words(waiting, hello.facts))) throw closed("Nobody may wait for approval now.");
  await session.stream.send({ type: "number", number: toText(responder), salt: toText(salt) });
  return waiting;
}

/** TLS has shown that the peer holds its key, and the peer has pinned ours. */
async function proveByKey(round: Round): Promise<void> {
  const { id, spki } = round.peer;
  if (round.sources.isMember(id, spki) !== true) throw proofFailed("Its key is no member's.");
  await sendWelcome(round, {});
}

async function sendWelcome(
  { session, welcome }: Round,
  more: { share?: string; proof?: string; commitment?: string },
): Promise<void> {
  await session.stream.send({ type: "welcome", ...welcome, nonce: toText(welcome.nonce), ...more });
}

/** Reads versions first: a hello of a version that is not ours may look otherwise. */
async function readHello(session: Session): Promise<Hello> {
  const frame = await nextFrame(session);
  const any = AnyHello.safeParse(frame);
  if (!any.success) throw proofFailed("It does not speak the join protocol.", any.error);
  if (commonVersion(VERSIONS, any.data.versions) === undefined)
    throw new DvError("JOIN_VERSION", `It speaks dvj/${any.data.versions.join(", dvj/")}.`);
  return parsed(Hello.safeParse(frame));
}

/** The joiner's first offer counts; whether it has another is of no interest, or a relay could choose for us. */
function modeOf(hello: Hello): ProofMode {
  const [first] = hello.modes;
  if (first === "secret" || first === "code" || first === "words" || first === "member") return first;
  throw closed("It offers a kind of proof that is not known here.");
}

function transcriptOfHello(session: Session, hello: Hello, welcome: WelcomeFacts): Buffer {
  try {
    return transcriptOfSession(session, "responder", hello, welcome);
  } catch (error) {
    // Half a surrogate has no canonical JSON.
    throw proofFailed("Its facts cannot be hashed.", error);
  }
}

async function expectFrame<T extends z.ZodType>(session: Session, schema: T): Promise<z.output<T>> {
  return parsed(schema.safeParse(await nextFrame(session)));
}

function parsed<T>(result: z.ZodSafeParseResult<T>): T {
  if (!result.success) throw proofFailed("It does not speak the join protocol.", result.error);
  return result.data;
}

/** What a joiner is told. A failure of ours looks like a closed door. */
function refusalCode(error: unknown): Refused["code"] {
  const code = error instanceof DvError ? error.code : undefined;
  return code === "JOIN_PROOF_FAILED" || code === "JOIN_VERSION" ? code : "JOIN_MODE_REFUSED";
}

function closed(message: string): DvError {
  return new DvError("JOIN_MODE_REFUSED", message);
}
