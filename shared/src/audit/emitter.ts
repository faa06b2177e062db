// SPDX-License-Identifier: Apache-2.0
/**
 * Writes records to the audit trail: masked, numbered, chained, signed, acknowledged, one after the other.
 *
 * An append without answer is sent again under the same id before anything else is written, so that a lost acknowledgement
 * becomes neither a second record nor a gap. Every process of one identity goes on where the chain ends in the trail; of two
 * that append at once, one is refused by the stream and goes on behind the other.
 */
import { randomBytes } from "node:crypto";
import { AuditRecord, type RecordBody } from "@debvisor/proto-events/audit";
import type { Bus, Journal } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { leafHash } from "./merkle.ts";
import { type PendingRecord, readPending, writePending } from "./pending-file.ts";
import { buildRecord } from "./record.ts";

/** Where a record went. `leaf` is its leaf hash in the tree (RFC 6962 §2.1), hexadecimal. */
export interface Recorded {
  readonly id: string;
  readonly seq: number;
  readonly leaf: string;
}

/** An emitter of one identity. Records of one emitter are stored in the order of the calls. */
export interface AuditEmitter {
  /** Appends a record and waits until it is stored. @throws AUDIT_UNAVAILABLE; then nobody knows whether it is stored */
  record(body: RecordBody): Promise<Recorded>;
}

/** What an emitter needs. */
export interface EmitterOptions {
  readonly bus: Pick<Bus, "signer" | "journal">;
  /** Boot id of the process: random, made once. */
  readonly boot: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where the record on its way is kept, so that the next process sends it when this one dies; default: in memory. */
  readonly stateFile?: string | undefined;
}

/** An emitter that can be ended. */
export interface OpenEmitter extends AuditEmitter {
  /** Takes no more records and waits, at most as long as a record may take, for those that were taken. */
  stop(): Promise<void>;
}

const PATIENCE_MS = 5_000;
const MAX_WAITING = 1_000;
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

/** Opens an emitter. Asks nothing of the bus until the first record. @throws DATA_FOLDER_CORRUPT for an unreadable state file */
export function openEmitter(options: EmitterOptions): OpenEmitter {
  return new Emitter(options);
}

interface Waiting {
  readonly body: RecordBody;
  readonly deadlineMs: number;
  readonly resolve: (recorded: Recorded) => void;
  readonly reject: (error: unknown) => void;
}

/** End of the chain as far as it is known to be stored; `seq` is 0 before the first record. */
interface Tail {
  readonly n: number;
  readonly leaf: string | null;
  readonly seq: number;
}

const NO_TAIL: Tail = { n: 0, leaf: null, seq: 0 };

/** A record whose fate is not known. `isStart`: it opens this process's part of the chain. */
type Sent = PendingRecord & { readonly isStart: boolean };

class Emitter implements OpenEmitter {
  readonly #options: EmitterOptions;
  readonly #journal: Journal;
  readonly #key: string;
  readonly #bornMs: number;
  readonly #waiting: Waiting[] = [];
  #tail: Tail | undefined;
  #sent: Sent | undefined;
  #isStarted = false;
  #isStopped = false;
  #worker: Promise<void> | undefined;

  constructor(options: EmitterOptions) {
    this.#options = options;
    this.#journal = options.bus.journal("DV_AUDIT");
    this.#key = options.bus.signer.user;
    this.#bornMs = options.clock.monotonic();
    const left = options.stateFile === undefined ? undefined : readPending(options.stateFile);
    if (left) this.#sent = { ...left, isStart: false };
  }

  record(body: RecordBody): Promise<Recorded> {
    if (this.#isStopped) return Promise.reject(unavailable("This process takes no more audit records; it is ending."));
    if (this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(unavailable(`${MAX_WAITING} records wait for the audit trail already.`));
    }
    const { promise, resolve, reject } = Promise.withResolvers<Recorded>();
    const deadlineMs = this.#options.clock.monotonic() + PATIENCE_MS;
    this.#waiting.push({ body, deadlineMs, resolve, reject });
    this.#worker ??= this.#work();
    return promise;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#worker;
  }

  async #work(): Promise<void> {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { body, deadlineMs, resolve, reject } = next;
      try {
        await this.#settle(deadlineMs);
        resolve(await this.#append(body, deadlineMs));
      } catch (error) {
        reject(error);
      }
    }
    this.#worker = undefined;
  }

  /** Learns what became of a record that nobody waits for any more, and where the chain ends. */
  async #settle(deadlineMs: number): Promise<void> {
    if (this.#sent) await this.#send(this.#sent, deadlineMs);
    this.#tail ??= (await this.#retry(deadlineMs, () => this.#readTail(0))).tail;
  }

  /** Appends one record; when somebody of the same identity was faster, behind theirs. */
  async #append(body: RecordBody, deadlineMs: number): Promise<Recorded> {
    const { bus, boot, clock } = this.#options;
    for (;;) {
      const isStart = body.kind === "start";
      if (!this.#isStarted && !isStart) await this.#append(startBody(boot), deadlineMs);
      const tail = this.#tail ?? NO_TAIL;
      const id = randomBytes(16).toString("hex");
      const mono = clock.monotonic() - this.#bornMs;
      const time = new Date(clock.now()).toISOString();
      const { line, leaf } = buildRecord(body, { chain: tail, signer: bus.signer, id, boot, mono, time });
      const pending = { id, line, n: tail.n + 1, expected: tail.seq };
      this.#keep(pending);
      const seq = await this.#send({ ...pending, isStart }, deadlineMs, true);
      if (seq !== undefined) return { id, seq, leaf };
    }
  }

  #keep(pending: PendingRecord): void {
    const { stateFile } = this.#options;
    if (stateFile === undefined) return;
    try {
      writePending(stateFile, pending);
    } catch (error) {
      throw unavailable("The audit record cannot be written to this machine's disk, so it was not sent.", error);
    }
  }

  /**
   * Sends a record until its fate is known. Returns its sequence; undefined when it is not in the trail, or nobody can tell
   * and nobody waits for it. Afterwards the tail is what the trail has. @throws AUDIT_UNAVAILABLE
   */
  async #send(sent: Sent, deadlineMs: number, isFirst = false): Promise<number | undefined> {
    const { id, line, expected, n } = sent;
    let attempts = isFirst ? 0 : 1;
    this.#sent = sent;
    const outcome = await this.#retry(deadlineMs, async () => {
      attempts++;
      try {
        return { seq: await this.#journal.append(this.#key, line, { expected, id }) };
      } catch (error) {
        if (!(error instanceof DvError) || error.code !== "CONFLICT") throw error;
        return { lastSeq: error.details?.["lastSeq"] };
      }
    });
    if (outcome.seq === undefined) return await this.#afterConflict(sent, attempts > 1, outcome.lastSeq, deadlineMs);
    this.#settled(sent, { n, leaf: leafHash(line), seq: outcome.seq });
    return outcome.seq;
  }

  #settled(sent: Sent, tail: Tail): void {
    this.#sent = undefined;
    this.#tail = tail;
    this.#isStarted ||= sent.isStart;
  }

  /**
   * Another record is the emitter's last: this one, when it arrived long ago and the answer did not, or that of another
   * process. A repeat within the stream's window never comes here; it is answered as a duplicate.
   */
  async #afterConflict(sent: Sent, isRepeat: boolean, lastSeq: unknown, deadlineMs: number) {
    const atLeast = typeof lastSeq === "number" ? lastSeq : 0;
    const { tail, text } = await this.#retry(deadlineMs, () => this.#readTail(atLeast));
    if (text === sent.line) {
      this.#settled(sent, tail);
      return tail.seq;
    }
    this.#sent = undefined;
    this.#tail = tail;
    // Whoever repeats for that long has nobody waiting; the record after it must not be lost on its account.
    if (isRepeat && tail.n > sent.n) {
      this.#options.log.warn({ emitter: this.#key, n: sent.n }, "another process wrote the chain meanwhile");
    }
    return undefined;
  }

  /** Reads the end of the chain, no older than `atLeast`. @throws BUS_UNAVAILABLE, also while a replica lags behind */
  async #readTail(atLeast: number): Promise<{ readonly tail: Tail; readonly text: string | undefined }> {
    const last = await this.#journal.last(this.#key);
    if ((last?.seq ?? 0) < atLeast) throw new DvError("BUS_UNAVAILABLE", "The replica that answered lags behind.");
    if (!last) return { tail: NO_TAIL, text: undefined };
    const { n } = readOwn(last.text);
    return { tail: { n, leaf: leafHash(last.text), seq: last.seq }, text: last.text };
  }

  /** Tries until the deadline. An attempt that was given up changes nothing when it ends. @throws AUDIT_UNAVAILABLE */
  async #retry<R extends object>(deadlineMs: number, attempt: () => Promise<R>): Promise<R> {
    const { clock, log } = this.#options;
    let cause: unknown;
    for (
      let pauseMs = FIRST_PAUSE_MS;
      clock.monotonic() < deadlineMs;
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    ) {
      try {
        return await before(deadlineMs, clock, attempt());
      } catch (error) {
        if (!(error instanceof DvError)) throw error;
        if (error.code !== "BUS_UNAVAILABLE") throw unavailable(error.message, error);
        cause = error;
      }
      await clock.sleep(Math.min(pauseMs, Math.max(0, deadlineMs - clock.monotonic())));
    }
    log.warn({ err: cause, emitter: this.#key }, "the audit trail did not acknowledge a record in time");
    throw unavailable(
      "The audit trail did not acknowledge the record in time; whether it is stored is unknown.",
      cause,
    );
  }
}

/** First record of a process: by its credential the signatures of all others are checked. */
function startBody(boot: string): RecordBody {
  return {
    kind: "start",
    ref: boot,
    actor: "system",
    user: null,
    source: null,
    action: "audit.start",
    mode: null,
    targets: [],
    args: {},
    reason: null,
    override: null,
    planDigest: null,
    operation: null,
    requestId: null,
    traceId: null,
    result: null,
  };
}

function readOwn(text: string): AuditRecord {
  try {
    return AuditRecord.parse(JSON.parse(text));
  } catch (error) {
    throw new DvError("AUDIT_UNAVAILABLE", "The emitter's last record in the audit trail cannot be read.", {
      cause: error,
    });
  }
}

/** What the promise gives, or BUS_UNAVAILABLE at the deadline. */
async function before<R>(deadlineMs: number, clock: Clock, promise: Promise<R>): Promise<R> {
  const done = new AbortController();
  const late = clock.sleep(Math.max(0, deadlineMs - clock.monotonic()), done.signal).then(() => {
    throw new DvError("BUS_UNAVAILABLE", "The bus did not answer in time.");
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    done.abort();
  }
}

function unavailable(message: string, cause?: unknown): DvError {
  return new DvError("AUDIT_UNAVAILABLE", message, { cause });
}
