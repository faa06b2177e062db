// SPDX-License-Identifier: Apache-2.0
/**
 * Append-only streams with one subject for each key: the log of operations, the audit trail, its checkpoints. Appends are
 * guarded by the last sequence of their subject (compare-and-set), which the stream's leader decides.
 *
 * An append whose acknowledgement was lost is repeated under its id. With three replicas nats-server 2.15 looks for the id first
 * and answers as a duplicate; with one it compares the sequence first and refuses, although the record is stored; after the
 * stream's window it always refuses. So a refusal is checked by reading: the record after the expected one has our id or it
 * has not (`journal.test.ts`).
 */
import type { StreamName } from "@debvisor/proto-events/streams";
import { auditSubject, operationSubject, sealSubject } from "@debvisor/proto-events/subjects";
import { type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import { headers as createHeaders, type NatsConnection } from "@nats-io/nats-core";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { isConflict } from "./buckets.ts";
import type { Closable, Journal, JournalEntry } from "./bus.ts";
import { readAck } from "./events.ts";
import { readOrdered } from "./ordered.ts";
import { busError, HEADER } from "./wire.ts";

/** A stream without leader does not answer at all. */
const TIMEOUT_MS = 3_000;

/**
 * Everybody appends to the audit trail and may read nothing of it but the last record under its own name, which only the
 * direct interface can be limited to. A replica that answers there may lag behind; who appends after a record that is not the
 * last is told so.
 */
const OPEN_STREAM: StreamName = "DV_AUDIT";

const SUBJECTS: Readonly<Record<StreamName, (key: string) => string>> = {
  DV_OPS: operationSubject,
  DV_AUDIT: auditSubject,
  DV_SEALS: sealSubject,
  DV_EVENTS: () => {
    throw new DvError("INTERNAL", "The event stream is no journal.");
  },
};

export interface JournalOptions {
  readonly connection: NatsConnection;
  readonly stream: StreamName;
  readonly log: Logger;
  /** Waits for a connection that is being made anew. False: there is none. */
  readonly untilConnected: (patienceMs: number) => Promise<boolean>;
}

/** Opens a journal. Asks nothing of the bus. */
export function openJournal(options: JournalOptions): Journal {
  return new StreamJournal(options);
}

class StreamJournal implements Journal {
  readonly #options: JournalOptions;
  readonly #subjectOf: (key: string) => string;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#subjectOf = SUBJECTS[options.stream];
  }

  append: Journal["append"] = (key, text, { expected, id }) =>
    this.#try(`a record of ${this.#options.stream}/${key}`, async () => {
      const headers = createHeaders();
      headers.set(HEADER.messageId, id);
      headers.set(HEADER.expectedLastSubjectSequence, String(expected));
      const { connection } = this.#options;
      const reply = await connection.request(this.#subjectOf(key), text, { timeout: TIMEOUT_MS, headers });
      try {
        return readAck(reply.string()).seq;
      } catch (error) {
        const own = isConflict(error) ? await this.#after(key, expected) : undefined;
        if (own?.header.get(HEADER.messageId) === id) return own.seq;
        throw error;
      }
    });

  read: Journal["read"] = (key) =>
    this.#try(`the records of ${this.#options.stream}/${key}`, async () => {
      const entries: JournalEntry[] = [];
      const manager = await this.#open();
      for (let seq = 1; ; ) {
        const query = { next_by_subj: this.#subjectOf(key), seq };
        const message = await manager.streams.getMessage(this.#options.stream, query);
        if (!message) return entries;
        entries.push(entryOf(message));
        seq = message.seq + 1;
      }
    });

  at: Journal["at"] = (seq) =>
    this.#try(`record ${seq} of ${this.#options.stream}`, async () => {
      const message = await (await this.#open()).streams.getMessage(this.#options.stream, { seq });
      return message ? entryOf(message) : undefined;
    });

  last: Journal["last"] = (key) =>
    this.#try(`the last record of ${this.#options.stream}/${key}`, async () => {
      const { stream } = this.#options;
      const query = { last_by_subj: this.#subjectOf(key) };
      const manager = await this.#open();
      const message =
        stream === OPEN_STREAM
          ? await manager.direct.getMessage(stream, query)
          : await manager.streams.getMessage(stream, query);
      return message ? entryOf(message) : undefined;
    });

  follow({ fromSeq, onEntry, onStand }: Parameters<Journal["follow"]>[0]): Promise<Closable> {
    return readOrdered(this.#options.connection, {
      stream: this.#options.stream,
      from: { seq: fromSeq },
      log: this.#options.log,
      onMessage: (message) => onEntry(entryOf(message)),
      ...(onStand ? { onConsumer: onStand } : {}),
    });
  }

  range: Journal["range"] = () =>
    this.#try(`the state of ${this.#options.stream}`, async () => {
      const { state, config } = await (await this.#open()).streams.info(this.#options.stream);
      const firstSeq = state.messages === 0 ? state.last_seq + 1 : state.first_seq;
      return { firstSeq, lastSeq: state.last_seq, bytes: state.bytes, maxBytes: config.max_bytes };
    });

  /** The record that followed the expected one; of the open stream, the last one. */
  async #after(key: string, expected: number): Promise<StoredMsg | null> {
    const { stream } = this.#options;
    const manager = await this.#open();
    const subject = this.#subjectOf(key);
    if (stream === OPEN_STREAM) return manager.direct.getMessage(stream, { last_by_subj: subject });
    const query = { next_by_subj: subject, seq: expected + 1 };
    return manager.streams.getMessage(stream, query);
  }

  #open(): Promise<JetStreamManager> {
    this.#manager ??= jetstreamManager(this.#options.connection, { checkAPI: false, timeout: TIMEOUT_MS });
    return this.#manager;
  }

  /** The client throws away what is sent while it reconnects, so this waits. What is unknown is BUS_UNAVAILABLE. */
  async #try<R>(what: string, action: () => Promise<R>): Promise<R> {
    try {
      if (!(await this.#options.untilConnected(TIMEOUT_MS)))
        throw new DvError("BUS_UNAVAILABLE", "The bus is not connected; nothing was sent.");
      return await action();
    } catch (error) {
      if (isConflict(error)) throw conflict(what, error);
      if (error instanceof TypeError) throw error;
      const failure = busError(error, what);
      if (failure.code !== "UNAVAILABLE" && failure.code !== "TIMEOUT") throw failure;
      throw new DvError("BUS_UNAVAILABLE", `The bus did not answer for ${what}; whether it took it is unknown.`, {
        cause: error,
      });
    }
  }
}

/** The server names the last sequence in its message, for people. */
function conflict(what: string, error: unknown): DvError {
  const [, lastSeq] = /last sequence: (\d+)/.exec(error instanceof Error ? error.message : "") ?? [];
  return new DvError("CONFLICT", `Somebody else appended before ${what}.`, {
    cause: error,
    ...(lastSeq === undefined ? {} : { details: { lastSeq: Number(lastSeq) } }),
  });
}

function entryOf(message: Pick<StoredMsg, "subject" | "seq" | "time" | "string">): JournalEntry {
  const key = message.subject.slice(message.subject.lastIndexOf(".") + 1);
  return { key, seq: message.seq, timeMs: message.time.getTime(), text: message.string() };
}
