// SPDX-License-Identifier: Apache-2.0
/**
 * What is wrong with the trail: kept in memory for whoever asks, and published once. Each server finds a break by itself and
 * publishes it under an id made of the break, so that the event stream keeps one. What was published is noted in a file, so
 * that a restart, which reads the whole trail again, repeats nothing.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { auditContract } from "@debvisor/proto-events/audit";
import { writeFileAtomic } from "@debvisor/shared/atomic-file";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { readJsonFileIfPresent } from "@debvisor/shared/node-files";
import { z } from "zod";

/** Something that contradicts the trail. `key` tells two breaks apart, the same on every server. */
export interface Break {
  readonly key: string;
  readonly cause: BreakCause;
  readonly seq: number | null;
  readonly detail: string;
}

/** `rollback` and `gap` stop the sealing; the others are what single emitters, sealers and witnesses did. */
export type BreakCause = "rollback" | "gap" | "malformed" | "chain" | "signature" | "checkpoint" | "witness";

const STOPS: ReadonlySet<BreakCause> = new Set(["rollback", "gap"]);
/** Breaks kept word by word, ids of published ones kept, and events that may wait. */
const MAX_SHOWN = 50;
const MAX_NOTED = 5_000;
const MAX_WAITING = 100;
/** Pause between two events: a node that writes nonsense must not flood the event stream. */
const PAUSE_MS = 1_000;
/** Events at the start that go without a pause. */
const BURST = 10;

const Noted = z.object({ published: z.array(z.string()) });

export interface AlarmDeps {
  readonly bus: Pick<Bus, "publishEvent" | "user">;
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Alarms {
  readonly #deps: AlarmDeps;
  readonly #file: string;
  readonly #breaks = new Map<string, Break>();
  readonly #published: Set<string>;
  readonly #waiting: { readonly id: string; readonly found: Break }[] = [];
  readonly #stopping = new AbortController();
  #found = 0;
  #sent = 0;
  #run: Promise<void> | undefined;
  #stopCause: string | undefined;

  /** @throws DATA_FOLDER_CORRUPT */
  constructor(deps: AlarmDeps) {
    this.#deps = deps;
    this.#file = join(deps.stateDir, "announced.json");
    this.#published = new Set(readJsonFileIfPresent(this.#file, Noted)?.published);
  }

  /** Why no checkpoint may be signed; undefined when one may. */
  get stopCause(): string | undefined {
    return this.#stopCause;
  }

  /** One line for each break, the stopping ones first. */
  lines(): string[] {
    const shown = [...this.#breaks.values()].sort((a, b) => Number(STOPS.has(b.cause)) - Number(STOPS.has(a.cause)));
    const lines = shown.map(({ cause, detail }) => `${cause.toUpperCase()}: ${detail}`);
    return this.#found > shown.length ? [...lines, `and ${this.#found - shown.length} more breaks`] : lines;
  }

  /** Takes a break; one that is known already changes nothing. */
  raise(found: Break): void {
    if (this.#breaks.has(found.key)) return;
    this.#found++;
    if (STOPS.has(found.cause)) this.#stopCause ??= found.detail;
    if (this.#breaks.size < MAX_SHOWN || STOPS.has(found.cause)) this.#breaks.set(found.key, found);
    const id = createHash("sha256").update(found.key).digest("hex").slice(0, 32);
    if (this.#published.has(id) || this.#waiting.some((waiting) => waiting.id === id)) return;
    this.#deps.log.error({ cause: found.cause, seq: found.seq }, `audit: ${found.detail}`);
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ id, found });
    this.#run ??= this.#publish().finally(() => {
      this.#run = undefined;
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#run;
  }

  async #publish(): Promise<void> {
    const { bus, clock, log } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const [next] = this.#waiting;
      if (!next) return;
      const { cause, seq, detail } = next.found;
      try {
        const options = { subject: bus.user, id: next.id, patienceMs: 2_000 };
        await bus.publishEvent(auditContract, "chain.broken", { cause, seq, detail }, options);
        this.#waiting.shift();
        this.#note(next.id);
        if (++this.#sent <= BURST) continue;
      } catch (error) {
        log.warn({ code: toDvError(error).code }, "audit: an alarm is not out yet");
      }
      await clock.sleep(PAUSE_MS, signal);
    }
  }

  #note(id: string): void {
    this.#published.add(id);
    const published = [...this.#published].slice(-MAX_NOTED);
    writeFileAtomic(this.#file, JSON.stringify({ published }), 0o600);
  }
}
