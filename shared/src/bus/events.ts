// SPDX-License-Identifier: Apache-2.0
/** Publishing and reading events. An event counts as published only after the stream's acknowledgement (RULES.md 17). */
import { randomBytes } from "node:crypto";
import type { Contract, Payload } from "@debvisor/proto-events/kit";
import type { EventEnvelope } from "@debvisor/proto-events/replies";
import { eventSubject, parseEventSubject } from "@debvisor/proto-events/subjects";
import { jetstreamManager } from "@nats-io/jetstream";
import { headers as createHeaders, type NatsConnection } from "@nats-io/nats-core";
import { z } from "zod";
import { systemClock, timestamp } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { PublishOptions, StoredEvent } from "./bus.ts";
import { busError, HEADER } from "./wire.ts";

export const EVENT_STREAM = "DV_EVENTS";

const PubAck = z.object({
  seq: z.number().optional(),
  duplicate: z.boolean().optional(),
  error: z.object({ code: z.number(), err_code: z.number().optional(), description: z.string() }).optional(),
});
export type PubAck = z.output<typeof PubAck>;

/** Longest time to wait for one acknowledgement. A stream without leader does not answer at all. */
const ACK_TIMEOUT_MS = 1_500;
const DEFAULT_PATIENCE_MS = 15_000;

/** Makes the envelope of an event; the id is made here, once, and goes with every retry. */
export function createEnvelope<const C extends Contract, K extends keyof C["events"] & string>(
  contract: C,
  event: K,
  payload: Payload<C, K>,
  origin: string,
  options: PublishOptions,
): EventEnvelope {
  const spec = contract.events[event];
  if (!spec) throw new DvError("INTERNAL", `The contract ${contract.service} declares no event ${event}.`);
  return {
    id: options.id ?? randomBytes(16).toString("hex"),
    type: `${contract.service}.${event}`,
    source: origin,
    time: timestamp(),
    subject: options.subject,
    dataversion: spec.version,
    ...(options.requestId ? { requestid: options.requestId } : {}),
    ...(options.actor ? { actor: options.actor } : {}),
    data: spec.payload.parse(payload),
  };
}

/**
 * Publishes an envelope until it is acknowledged or patience runs out. Retries carry the same id, so the stream keeps one.
 * @throws BUS_UNAVAILABLE when no acknowledgement came; whether the event is stored is then unknown
 */
export async function publishEnvelope(
  connection: NatsConnection,
  envelope: EventEnvelope,
  options: PublishOptions,
  log: Logger,
): Promise<number> {
  const isNew = options.id === undefined;
  const subject = eventSubject(envelope.source, envelope.type);
  const headers = createHeaders();
  headers.set(HEADER.messageId, envelope.id);
  const body = JSON.stringify(envelope);
  const deadline = systemClock.monotonic() + (options.patienceMs ?? DEFAULT_PATIENCE_MS);
  for (let attempt = 0; ; attempt++) {
    try {
      const reply = await connection.request(subject, body, { timeout: ACK_TIMEOUT_MS, headers });
      const ack = readAck(reply.string());
      // An event from an outbox may have been sent before; any other new id that is taken for known is an incident.
      if (ack.duplicate && attempt === 0 && isNew)
        log.error({ id: envelope.id, type: envelope.type }, "a new event id was taken for a duplicate");
      return ack.seq;
    } catch (error) {
      const wait = Math.min(100 * 2 ** attempt, 1_000);
      if (connection.isClosed() || systemClock.monotonic() + wait >= deadline)
        throw busError(error, `the event ${envelope.type}`);
      await systemClock.sleep(wait);
    }
  }
}

/** Reads an acknowledgement of JetStream. @throws BUS_UNAVAILABLE for a refusal or anything that is no acknowledgement */
export function readAck(text: string): { seq: number; duplicate: boolean } {
  let ack: PubAck | undefined;
  try {
    ack = PubAck.parse(JSON.parse(text));
  } catch (error) {
    throw new DvError("BUS_UNAVAILABLE", "The bus answered with something that is no acknowledgement.", {
      cause: error,
    });
  }
  if (ack.error)
    throw new DvError("BUS_UNAVAILABLE", `The stream refused the message: ${ack.error.description}.`, {
      details: { errCode: ack.error.err_code ?? ack.error.code },
    });
  if (ack.seq === undefined) throw new DvError("BUS_UNAVAILABLE", "The acknowledgement carries no sequence.");
  return { seq: ack.seq, duplicate: ack.duplicate ?? false };
}

/** Takes a stored message apart; undefined when its subject is no event's. */
export function storedEvent(message: {
  readonly seq: number;
  readonly subject: string;
  readonly time: Date;
  string(): string;
}): StoredEvent | undefined {
  try {
    const { origin, type } = parseEventSubject(message.subject);
    return { seq: message.seq, origin, type, timeMs: message.time.getTime(), json: message.string() };
  } catch {
    return undefined;
  }
}

/** First and last sequence of the event stream. @throws BUS_UNAVAILABLE */
export async function eventRange(connection: NatsConnection): Promise<{ firstSeq: number; lastSeq: number }> {
  try {
    const manager = await jetstreamManager(connection, { checkAPI: false, timeout: 2_000 });
    const { state } = await manager.streams.info(EVENT_STREAM);
    return { firstSeq: state.messages === 0 ? state.last_seq + 1 : state.first_seq, lastSeq: state.last_seq };
  } catch (error) {
    throw busError(error, "the state of the event stream");
  }
}
