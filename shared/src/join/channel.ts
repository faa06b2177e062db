// SPDX-License-Identifier: Apache-2.0
/**
 * Questions and answers once both ends have proved themselves. TLS protects what is said, and the proof has bound this TLS session to
 * the two machines. The responder answers one question after the other and reads the next one only then.
 */
import { WireError } from "@debvisor/proto-events/replies";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { DvError, fromWire, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { ANSWER_FRAME_BYTES, ASK_FRAME_BYTES, type FrameStream } from "./frames.ts";
import { JoinAnswer, JoinMessage } from "./messages.ts";
import type { Peer } from "./session.ts";

const Id = z.number().int().nonnegative();
const Ask = z.strictObject({ type: z.literal("ask"), id: Id, message: z.unknown() });
const Reply = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("answer"), id: Id, answer: z.unknown() }),
  z.strictObject({ type: z.literal("error"), id: Id, error: WireError }),
]);
type Reply = z.output<typeof Reply>;

const ASK_MS = 30_000;

/** A proved connection, at the joiner's end. */
export interface JoinChannel {
  readonly peer: Peer;
  /** Cluster that the other end belongs to or wants to form. */
  readonly cluster: string;
  /**
   * Asks and waits for the answer; default 30 s. A late answer is dropped.
   * @throws the error that the other end answers with, TIMEOUT, JOIN_UNREACHABLE when the connection ends, MALFORMED_REPLY, and
   * INVALID_ARGUMENT for a message above 64 KiB
   */
  ask(message: JoinMessage, timeoutMs?: number): Promise<JoinAnswer>;
  /** Ends the connection; questions that are open fail. May be called again. */
  close(): void;
}

/** Begins to ask over a proved connection. */
export function openChannel(stream: FrameStream, peer: Peer, cluster: string, clock: Clock): JoinChannel {
  stream.widen({ send: ASK_FRAME_BYTES, receive: ANSWER_FRAME_BYTES });
  const waiting = new Map<number, (reply: Reply | DvError) => void>();
  let ended: DvError | undefined;
  let turn = 0;
  const end = (error: DvError) => {
    ended ??= error;
    stream.destroy();
    for (const settle of waiting.values()) settle(ended);
  };
  void pump(stream, (reply) => waiting.get(reply.id)?.(reply)).then(end);
  return {
    peer,
    cluster,
    ask: async (message, timeoutMs = ASK_MS) => {
      if (ended) throw ended;
      const id = turn++;
      const timer = new AbortController();
      const reply = new Promise<Reply | DvError>((resolve) => {
        waiting.set(id, resolve);
        void clock.sleep(timeoutMs, timer.signal).then(() => resolve(late(peer, timeoutMs)));
      });
      try {
        await stream.send({ type: "ask", id, message });
        return answerOf(await reply);
      } finally {
        waiting.delete(id);
        timer.abort();
      }
    },
    close: () => end(new DvError("JOIN_UNREACHABLE", "The connection was closed on this side.")),
  };
}

/** Answers questions until the connection ends. */
export async function serveChannel(
  stream: FrameStream,
  handle: (message: JoinMessage) => Promise<JoinAnswer>,
  log: Logger,
): Promise<void> {
  stream.widen({ send: ANSWER_FRAME_BYTES, receive: ASK_FRAME_BYTES });
  for (;;) {
    const frame = await stream.next();
    if (frame === undefined) return;
    const ask = Ask.safeParse(frame);
    if (!ask.success) throw new DvError("MALFORMED_REPLY", "It asks in no form that is known.", { cause: ask.error });
    const { id, message } = ask.data;
    try {
      await sendAnswer(stream, id, await handle(checked(message)));
    } catch (error) {
      const known = toDvError(error);
      if (known.kind === "internal") log.error({ err: error }, "a question on the join port failed");
      await stream.send({ type: "error", id, error: known.toWire() });
    }
  }
}

/** An answer that is too large is a fault on this side, whatever was asked. */
async function sendAnswer(stream: FrameStream, id: number, answer: JoinAnswer): Promise<void> {
  try {
    await stream.send({ type: "answer", id, answer });
  } catch (error) {
    throw new DvError("INTERNAL", "The answer is too large for the join port.", { cause: error });
  }
}

/** Hands every reply on; why there are no more. */
async function pump(stream: FrameStream, give: (reply: Reply) => void): Promise<DvError> {
  try {
    for (let frame = await stream.next(); frame !== undefined; frame = await stream.next()) give(Reply.parse(frame));
    return new DvError("JOIN_UNREACHABLE", "The connection to the join port ended.");
  } catch (error) {
    return new DvError("MALFORMED_REPLY", "The join port answered with something that is no answer.", { cause: error });
  }
}

function answerOf(reply: Reply | DvError): JoinAnswer {
  if (reply instanceof DvError) throw reply;
  if (reply.type === "error") throw fromWire(reply.error);
  const answer = JoinAnswer.safeParse(reply.answer);
  if (answer.success) return answer.data;
  throw new DvError("MALFORMED_REPLY", "The join port answered with something that is no answer.", {
    cause: answer.error,
  });
}

function checked(message: unknown): JoinMessage {
  const parsed = JoinMessage.safeParse(message);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message: what }) => `${path.join(".")}: ${what}`);
  throw new DvError("INVALID_ARGUMENT", "The message is none of the join protocol.", { details: { issues } });
}

function late(peer: Peer, timeoutMs: number): DvError {
  return new DvError("TIMEOUT", `${peer.id} did not answer within ${timeoutMs} ms; whether it acted is unknown.`);
}
