// SPDX-License-Identifier: Apache-2.0
/**
 * Turns failed sign-ins into reports without letting a guesser fill what they are written to: the first of a window is told at
 * once, the others are summed up by source and cause when the window is over. For events that is ten in a second at most,
 * for the audit trail, which keeps everything, three in a minute.
 */
import type { AuthFailure } from "./tokens.ts";

/** A failed sign-in, or several alike. */
export interface FailureReport {
  readonly source: string;
  readonly path: string;
  readonly cause: AuthFailure;
  readonly count: number;
}

/** How many reports a window gives at most, and how long it is. */
export interface ReportWindow {
  readonly ms: number;
  readonly reports: number;
}

export const EVENT_WINDOW: ReportWindow = { ms: 1_000, reports: 10 };
export const AUDIT_WINDOW: ReportWindow = { ms: 60_000, reports: 3 };

export class FailureReporter {
  readonly #publish: (report: FailureReport) => void;
  readonly #window: ReportWindow;
  #open: Map<string, FailureReport> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(publish: (report: FailureReport) => void, window: ReportWindow = EVENT_WINDOW) {
    this.#publish = publish;
    this.#window = window;
  }

  /** Reports one failure. */
  report(source: string, path: string, cause: AuthFailure): void {
    if (!this.#open) {
      this.#publish({ source, path, cause, count: 1 });
      this.#open = new Map();
      this.#timer = setTimeout(() => this.flush(), this.#window.ms).unref();
      return;
    }
    const own = `${source} ${cause}`;
    // The last place takes whatever has none of its own, so that counts stay right under many sources.
    const key = this.#open.has(own) || this.#open.size < this.#window.reports - 2 ? own : "others";
    const before = this.#open.get(key);
    const named = key === own ? { source, path, cause } : { source: "several", path: "several", cause };
    this.#open.set(key, before ? { ...before, count: before.count + 1 } : { ...named, count: 1 });
  }

  /** Publishes what was summed up, at the latest when the gateway stops. */
  flush(): void {
    clearTimeout(this.#timer);
    const reports = [...(this.#open?.values() ?? [])];
    this.#open = undefined;
    for (const report of reports) this.#publish(report);
  }
}
