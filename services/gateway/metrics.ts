// SPDX-License-Identifier: Apache-2.0
/**
 * Metrics in Prometheus' text form. Requests are counted in plain arrays, one per route and status, and handed to prom-client
 * when somebody scrapes: its histogram hashes the labels on every observation, which on the hot path is too much.
 *
 * prom-client is loaded by the first scrape, and its figures of the process (garbage collection, lag of the event loop) begin
 * there: a gateway that nobody scrapes has neither its memory nor its timer, which wakes the process every 10 ms.
 */

import type { Census } from "@debvisor/proto-events/replies";
import type { Registry } from "prom-client";

const BUCKETS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000] as const;

interface Series {
  readonly counts: Float64Array;
  sumMs: number;
  total: number;
}

/** Durations of one route, by status. */
export class RouteTimings {
  readonly method: string;
  readonly route: string;
  readonly series = new Map<number, Series>();

  constructor(method: string, route: string) {
    this.method = method;
    this.route = route;
  }

  /** Counts one answer. */
  observe(status: number, ms: number): void {
    let series = this.series.get(status);
    if (!series) {
      series = { counts: new Float64Array(BUCKETS_MS.length), sumMs: 0, total: 0 };
      this.series.set(status, series);
    }
    series.total++;
    series.sumMs += ms;
    for (let i = 0; i < BUCKETS_MS.length; i++) {
      if (ms <= (BUCKETS_MS[i] ?? 0)) {
        series.counts[i] = (series.counts[i] ?? 0) + 1;
        return;
      }
    }
  }
}

/** Values that are read when somebody scrapes. */
export type Sources = Readonly<Record<string, { readonly help: string; readonly read: () => number }>>;

/** Media type of Prometheus' text form. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export class Metrics {
  readonly #timings: RouteTimings[] = [];
  readonly #targets = new Map<string, number>();
  #sources: Sources = {};
  #registry: Promise<Registry> | undefined;

  /** The counters of a route. */
  route(method: string, route: string): RouteTimings {
    const timings = new RouteTimings(method, route);
    this.#timings.push(timings);
    return timings;
  }

  /** All requests over HTTP. Errors are those that the caller could not have avoided: status 500 and above. */
  totals(): { requests: number; errors: number; totalMs: number } {
    const all = this.#timings.flatMap(({ series }) => [...series]);
    const sum = (pick: (status: number, one: { total: number; sumMs: number }) => number) =>
      all.reduce((total, [status, one]) => total + pick(status, one), 0);
    return {
      requests: sum((_status, { total }) => total),
      errors: sum((status, { total }) => (status >= 500 ? total : 0)),
      totalMs: sum((_status, { sumMs }) => sumMs),
    };
  }

  /** Adds values that somebody else counts. */
  addSources(sources: Sources): void {
    this.#sources = { ...this.#sources, ...sources };
  }

  /** Counts the targets of a fan-out. */
  countCensus({ total: _total, digest: _digest, ...statuses }: Census): void {
    for (const [status, count] of Object.entries(statuses))
      if (count > 0) this.#targets.set(status, (this.#targets.get(status) ?? 0) + count);
  }

  /** Everything in text form. */
  async render(): Promise<string> {
    this.#registry ??= defaults();
    const own = [...this.#renderSources(), ...this.#renderTargets()].join("\n");
    return `${await (await this.#registry).metrics()}\n${own}\n${this.#renderTimings()}`;
  }

  #renderSources(): string[] {
    return Object.entries(this.#sources).flatMap(([name, { help, read }]) => [
      ...heading(name, help, "gauge"),
      `${name} ${read()}`,
    ]);
  }

  #renderTargets(): string[] {
    const name = "debvisor_fanout_targets_total";
    const values = [...this.#targets].map(([status, count]) => `${name}{status="${status}"} ${count}`);
    return [...heading(name, "Targets of fan-outs by how they ended.", "counter"), ...values];
  }

  #renderTimings(): string {
    const name = "debvisor_http_request_duration_seconds";
    const lines = heading(name, "Time until the answer was sent, by route and status.", "histogram");
    for (const { method, route, series } of this.#timings) {
      for (const [status, { counts, sumMs, total }] of series) {
        const labels = `method="${method}",route="${route}",status="${status}"`;
        let below = 0;
        for (const [i, ms] of BUCKETS_MS.entries()) {
          below += counts[i] ?? 0;
          lines.push(`${name}_bucket{${labels},le="${ms / 1_000}"} ${below}`);
        }
        lines.push(
          `${name}_bucket{${labels},le="+Inf"} ${total}`,
          `${name}_sum{${labels}} ${sumMs / 1_000}`,
          `${name}_count{${labels}} ${total}`,
        );
      }
    }
    return `${lines.join("\n")}\n`;
  }
}

function heading(name: string, help: string, type: "counter" | "gauge" | "histogram"): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

async function defaults(): Promise<Registry> {
  const { collectDefaultMetrics, Registry: Made } = await import("prom-client");
  const registry = new Made();
  collectDefaultMetrics({ register: registry });
  return registry;
}
