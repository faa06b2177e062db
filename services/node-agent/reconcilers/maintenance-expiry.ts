// SPDX-License-Identifier: Apache-2.0
/**
 * Ends maintenance whose time is over. The wall clock alone does not decide: since this process first saw the entry, as much
 * monotonic time must have passed as was left then, so that a clock that jumps ahead ends nothing early (RULES.md part 6).
 */
import { randomBytes } from "node:crypto";
import { type Maintenance, maintenanceContract } from "@debvisor/proto-events/maintenance";
import type { AuditEmitter } from "@debvisor/shared/audit/emitter";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { holdLease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import type { MaintenanceStore } from "./maintenance-store.ts";

const LOOK_MS = 1_000;

export interface ExpiryDeps {
  readonly bus: Bus;
  readonly store: MaintenanceStore;
  readonly audit: AuditEmitter;
  readonly clock: Clock;
  readonly log: Logger;
  readonly owner: string;
}

/** Starts the loop; the holder of lease `maintenance-expiry` acts. */
export function startMaintenanceExpiry(deps: ExpiryDeps): Closable {
  const { clock, log, bus, owner, store } = deps;
  const stopping = new AbortController();
  const lease = holdLease(bus, "maintenance-expiry", owner, {
    onHeld: () => undefined,
    onLost: () => undefined,
    log,
    clock,
  });
  const timers = new Timers(clock);
  const run = (async () => {
    while (!stopping.signal.aborted) {
      await clock.sleep(LOOK_MS, stopping.signal);
      const over = store.list().filter((entry) => timers.isOver(entry));
      if (!lease.held) continue;
      for (const entry of over) {
        await expire(deps, entry).catch((error: unknown) =>
          log.warn({ target: entry.target, code: toDvError(error).code }, "maintenance: not ended yet"),
        );
      }
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await Promise.all([lease.stop(), run]);
    },
  };
}

/** When each entry's time is over by the monotonic clock. */
export class Timers {
  readonly #clock: Pick<Clock, "now" | "monotonic">;
  readonly #seen = new Map<string, { operation: string; until: string; deadline: number }>();

  constructor(clock: Pick<Clock, "now" | "monotonic">) {
    this.#clock = clock;
  }

  isOver({ target, operation, until }: Maintenance): boolean {
    if (until === null) return false;
    const known = this.#seen.get(target);
    if (!known || known.operation !== operation || known.until !== until) {
      const deadline = this.#clock.monotonic() + Math.max(0, Date.parse(until) - this.#clock.now());
      this.#seen.set(target, { operation, until, deadline });
      return this.#clock.monotonic() >= deadline;
    }
    return this.#clock.monotonic() >= known.deadline && this.#clock.now() >= Date.parse(until);
  }
}

async function expire({ store, bus, audit, log }: ExpiryDeps, entry: Maintenance): Promise<void> {
  const id = randomBytes(16).toString("hex");
  const body = {
    ref: `expiry-${id}`,
    actor: "system",
    user: null,
    source: null,
    action: "maintenance.expire",
    mode: null,
    targets: [entry.name],
    args: { until: entry.until, holder: entry.holder },
    reason: entry.reason,
    override: null,
    planDigest: null,
    operation: null,
    requestId: null,
    traceId: null,
  };
  await audit.record({ ...body, kind: "intent", result: null });
  const ended = await store.expire(entry, id);
  const status = ended ? ("ok" as const) : ("unchanged" as const);
  await audit.record({ ...body, kind: "outcome", result: { status, code: null, exitCode: 0, message: null } });
  if (!ended) return;
  log.info({ target: entry.target }, "maintenance: ended, its time was over");
  await bus.publishEvent(maintenanceContract, "mode.expired", entry, { subject: entry.target, id });
}
