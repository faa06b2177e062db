// SPDX-License-Identifier: Apache-2.0
/** Runs the health checks from time to time, keeps the verdict for the heartbeat, and publishes `health.changed`. */
import { type Health, nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import type { NodeIdentity } from "@debvisor/shared/service";
import type { NodeAgentConfig } from "../config.ts";
import { failedIds, type Verdict } from "../model/verdict.ts";
import { repeat } from "./repeat.ts";

/** Lets the other services of a starting node come up before the first verdict. */
const FIRST_AFTER_MS = 5_000;
const PATIENCE_MS = 10_000;

/** What the watch needs. */
export interface HealthWatchDeps {
  readonly node: NodeIdentity;
  readonly config: NodeAgentConfig;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn" | "info">;
  readonly bus: Pick<Bus, "publishEvent">;
  readonly check: (signal: AbortSignal) => Promise<Health>;
}

/** The loop that watches the verdict. */
export interface HealthWatch {
  /** Verdict of the last round; undefined before the first. */
  verdict(): Verdict | undefined;
  /** Checks until the signal aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Makes the watch. It compares with the verdict that the stream has acknowledged, not with the last one seen: a change that
 * could not be published is published by the next round.
 */
export function createHealthWatch({ node, config, clock, log, bus, check }: HealthWatchDeps): HealthWatch {
  let current: Verdict | undefined;
  let published: Verdict | undefined;
  const round = async (signal: AbortSignal) => {
    const health = await check(signal);
    if (signal.aborted) return;
    current = health.verdict;
    if (current === published) return;
    const change = { from: published ?? null, to: current, failed: failedIds(health.checks) };
    log.info({ ...change, score: health.score }, "the verdict changed");
    const payload = { node: node.id, name: node.name, ...change };
    await bus.publishEvent(nodeAgentContract, "health.changed", payload, { subject: node.id, patienceMs: PATIENCE_MS });
    published = change.to;
  };
  return {
    verdict: () => current,
    run: (signal) =>
      repeat(
        {
          clock,
          everyMs: config.healthEveryMs,
          firstAfterMs: Math.min(FIRST_AFTER_MS, config.healthEveryMs),
          signal,
          onError: (error) => log.warn({ err: error }, "the health watch failed"),
        },
        () => round(signal),
      ),
  };
}
