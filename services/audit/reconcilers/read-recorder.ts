// SPDX-License-Identifier: Apache-2.0
/**
 * Records that the trail was read, before the answer is given. Who follows asks again and again: of one reader with one filter
 * a follow is recorded once a minute by each instance, otherwise following would feed itself.
 */
import type { RecordBody } from "@debvisor/proto-events/audit";
import type { AuditEmitter } from "@debvisor/shared/audit/emitter";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";

const FOLLOW_MS = 60_000;
const MAX_FOLLOWERS = 1_000;

export interface ReadRecorderDeps {
  readonly emitter: AuditEmitter;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ReadRecorder {
  readonly #deps: ReadRecorderDeps;
  /** Monotonic time of the last record of each reader and filter. */
  readonly #followers = new Map<string, number>();
  #unrecorded = 0;

  constructor(deps: ReadRecorderDeps) {
    this.#deps = deps;
  }

  /** Readings that the trail could not take. */
  get unrecorded(): number {
    return this.#unrecorded;
  }

  /**
   * Records a reading. A trail that takes no record can still be read, because then somebody has to look at it; the log and
   * `getSeal` say so.
   */
  async record(action: string, args: Readonly<Record<string, unknown>>, context: RequestContext): Promise<void> {
    const { emitter, log } = this.#deps;
    const given = Object.fromEntries(Object.entries(args).filter(([, value]) => value !== undefined));
    try {
      await emitter.record(bodyOf(`audit.${action}`, given, context));
    } catch (error) {
      this.#unrecorded++;
      log.error({ action, actor: context.actor, code: toDvError(error).code }, "audit: a reading was not recorded");
    }
  }

  /** The same for one of many questions of one reader; `filter` is what does not change between them. */
  async recordFollow(
    action: string,
    args: Readonly<Record<string, unknown>>,
    filter: Readonly<Record<string, unknown>>,
    context: RequestContext,
  ): Promise<void> {
    const now = this.#deps.clock.monotonic();
    const key = JSON.stringify([context.actor, context.user, action, filter]);
    if (now - (this.#followers.get(key) ?? Number.NEGATIVE_INFINITY) < FOLLOW_MS) return;
    if (this.#followers.size >= MAX_FOLLOWERS) {
      for (const [old, at] of this.#followers) if (now - at >= FOLLOW_MS) this.#followers.delete(old);
    }
    if (this.#followers.size < MAX_FOLLOWERS) this.#followers.set(key, now);
    await this.record(action, args, context);
  }
}

function bodyOf(action: string, args: Record<string, unknown>, context: RequestContext): RecordBody {
  return {
    kind: "read",
    ref: context.requestId,
    actor: context.actor,
    user: context.user ?? null,
    source: context.source ?? null,
    action,
    mode: null,
    targets: [],
    args,
    reason: null,
    override: null,
    planDigest: null,
    operation: null,
    requestId: context.requestId,
    traceId: context.traceId ?? null,
    result: null,
  };
}
