// SPDX-License-Identifier: Apache-2.0
/**
 * Turns failed sign-ins into events without letting a guesser fill the event stream: the first of a second is published at
 * once, the others are summed up by source and cause when the second is over, ten events at most.
 */
import type { AuthFailure } from "./tokens.ts";

/** A failed sign-in, or several alike. */
export interface FailureReport {
  readonly source: string;
  readonly path: string;
  readonly cause: AuthFailure;
  readonly count: number;
}

const WINDOW_MS = 1_000;
const PER_WINDOW = 10;

export class FailureReporter {
  readonly #publish: (report: FailureReport) => void;
  #open: Map<string, FailureReport> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(publish: (report: FailureReport) => void) {
    this.#publish = publish;
  }

  /** Reports one failure. */
  report(source: string, path: string, cause: AuthFailure): void {
    if (!this.#open) {
      this.#publish({ source, path, cause, count: 1 });
      this.#open = new Map();
      this.#timer = setTimeout(() => this.flush(), WINDOW_MS).unref();
      return;
    }
    const own = `${source} ${cause}`;
    // The last place takes whatever has none of its own, so that counts stay right under many sources.
    const key = this.#open.has(own) || this.#open.size < PER_WINDOW - 2 ? own : "others";
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
