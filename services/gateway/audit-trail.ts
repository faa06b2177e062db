// SPDX-License-Identifier: Apache-2.0
/**
 * The gateway's records in the audit trail. A change that it forwards itself is announced first and is not forwarded when that
 * cannot be stored (fail closed); its outcome follows before the answer. Refusals are written beside the answers, from a
 * bounded queue and at a bounded rate for each caller: nobody can fill the trail by asking for what it may not have.
 */
import type { RecordBody } from "@debvisor/proto-events/audit";
import type { OpenEmitter } from "@debvisor/shared/audit/emitter";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { TokenBucket } from "@debvisor/shared/token-bucket";
import type { Attempt } from "./audit-attempt.ts";
import type { FailureReport } from "./auth/failures.ts";
import { type Failure, outcomeOf, refusalOf } from "./model/audit-result.ts";
import { bucketOf } from "./model/rate-limit.ts";

const MAX_QUEUED = 5_000;
const ATTEMPTS = 8;
const PAUSE_MS = 1_000;
const REFUSALS_PER_MINUTE = 120;
const MAX_CALLERS = 20_000;

export class AuditTrail {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #queue: RecordBody[] = [];
  readonly #rates = new Map<string, TokenBucket>();
  readonly #stopping = new AbortController();
  readonly #emitter: OpenEmitter;
  #running: Promise<void> | undefined;
  /** Announced changes that have not been concluded. */
  #open = 0;
  #onNoneOpen: () => void = () => undefined;
  /** Refusals that were not recorded: queue full, caller too fast, or the trail did not take them. */
  refusalsLost = 0;
  /** Outcomes that were not recorded; the audit service closes their intents as unknown. */
  outcomesLost = 0;
  /** Changes that were not forwarded because the trail did not acknowledge the intent. */
  failedClosed = 0;

  constructor(deps: { clock: Clock; log: Logger; emitter: OpenEmitter }) {
    this.#emitter = deps.emitter;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /**
   * Announces a change and waits until that is stored; `conclude` must follow. @throws AUDIT_UNAVAILABLE; then the change must
   * not be forwarded, and as the intent may be stored nevertheless, a refusal with its ref says that nothing was done
   */
  async intend(attempt: Attempt): Promise<void> {
    try {
      await this.#emitter.record({ ...attempt, kind: "intent", result: null });
      this.#open++;
    } catch (error) {
      this.failedClosed++;
      throw new DvError(
        "AUDIT_UNAVAILABLE",
        "The audit trail did not acknowledge the record of this request, so nothing was done.",
        { cause: error },
      );
    }
  }

  /** Records what came of an announced change. Without success the intent stays, and the audit service closes it as unknown. */
  async conclude(attempt: Attempt, error: Failure | undefined): Promise<void> {
    try {
      await this.#emitter.record({ ...attempt, kind: "outcome", result: outcomeOf(error) });
    } catch (cause) {
      this.outcomesLost++;
      this.#log.error(
        { ref: attempt.ref, action: attempt.action, cause: String(cause) },
        "an outcome was not recorded",
      );
    } finally {
      this.#open--;
      if (this.#open === 0) this.#onNoneOpen();
    }
  }

  /** Records that something was asked for and not begun; returns at once. */
  refuse(attempt: Attempt, error: Failure): void {
    if (!this.#allows(attempt.actor)) {
      this.refusalsLost++;
      return;
    }
    this.#enqueue({ ...attempt, kind: "refusal", result: refusalOf(error) });
  }

  /** Records a burst of requests without a valid key. */
  refuseSignIn({ source, path, cause, count }: FailureReport): void {
    const error = new DvError("UNAUTHENTICATED", `${count} without a valid key: ${cause}.`);
    this.#enqueue({
      kind: "refusal",
      ref: `sign-in.${source}`,
      actor: "unauthenticated",
      user: null,
      source,
      action: "gateway.authenticate",
      mode: null,
      targets: [],
      args: { path, cause, count },
      reason: null,
      override: null,
      planDigest: null,
      operation: null,
      requestId: null,
      traceId: null,
      result: refusalOf(error),
    });
  }

  /** Lets announced changes be concluded and writes what is queued, for at most `ms`, and ends. */
  async flush(ms: number): Promise<void> {
    this.#stopping.abort();
    const concluded = new Promise<void>((resolve) => {
      this.#onNoneOpen = resolve;
      if (this.#open === 0) resolve();
    });
    const done = concluded.then(() => this.#running).then(() => this.#emitter.stop());
    await Promise.race([done, systemClock.sleep(ms)]);
  }

  #allows(caller: string): boolean {
    const now = this.#clock.monotonic();
    let rate = this.#rates.get(caller);
    if (!rate) {
      if (this.#rates.size >= MAX_CALLERS) this.#rates.clear();
      rate = bucketOf(REFUSALS_PER_MINUTE, now);
      this.#rates.set(caller, rate);
    }
    return rate.take(now) === 0;
  }

  #enqueue(body: RecordBody): void {
    if (this.#queue.length >= MAX_QUEUED) {
      this.refusalsLost++;
      return;
    }
    this.#queue.push(body);
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) await this.#send(next);
    this.#running = undefined;
  }

  /** Tries for longer than a stream is without leader (4 to 7 s), then gives the record up. */
  async #send(body: RecordBody): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#emitter.record(body);
        return;
      } catch (error) {
        if (attempt >= ATTEMPTS || this.#stopping.signal.aborted) {
          this.refusalsLost++;
          this.#log.error({ ref: body.ref, action: body.action, cause: String(error) }, "a refusal was not recorded");
          return;
        }
        await this.#clock.sleep(PAUSE_MS, this.#stopping.signal);
      }
    }
  }
}
