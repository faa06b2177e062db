// SPDX-License-Identifier: Apache-2.0
/**
 * Runs of dig that stay (`-f -`, one question a line): a start of dig takes 15 to 40 ms, a further question to one that is there less
 * than one. Each knows one key, which it reads when it starts; the file is gone after its first answer. dig prints every answer at once
 * and ends it with the size of the message (checked with 9.18.49); what a server sends cannot look like that, since dig escapes it.
 */
import type { Asking, LineMeaning, StandingProgram } from "@debvisor/shared/drivers/standing-program";
import { startStanding } from "@debvisor/shared/drivers/standing-program";
import type { ExecResult } from "@debvisor/shared/exec";
import { type TsigSecret, withKeyFile } from "./key-file.ts";

/** How many stay without a question. */
const MOST_RESTING = 4;
/** When that many are busy, how long the next question waits for one of them before it starts another, in milliseconds. */
const WAIT_MS = 200;

export interface DigsOptions {
  /** For key files. */
  readonly folder: string;
  /** Arguments that hold for every question. */
  readonly args: readonly string[];
  /** How long one stays without a question, in milliseconds. */
  readonly restMs: number;
}

interface Resting {
  readonly of: string;
  readonly dig: StandingProgram;
  readonly over: NodeJS.Timeout;
}

interface Waiting {
  readonly of: string;
  readonly take: (dig: StandingProgram | undefined) => void;
}

/** The digs of one service. */
export class Digs {
  readonly #options: DigsOptions;
  readonly #resting: Resting[] = [];
  readonly #waiting = new Set<Waiting>();
  #busy = 0;

  constructor(options: DigsOptions) {
    this.#options = options;
  }

  /** Asks questions in turn, signed by the key, until all are answered or one is not. Never rejects. */
  async ask(
    key: TsigSecret | null,
    questions: readonly string[],
    options: Pick<Asking, "timeoutMs" | "signal">,
  ): Promise<ExecResult> {
    let answers = 0;
    const meaning = (line: string): LineMeaning => {
      if (/^;; .*no servers could be reached/.test(line)) return "failed";
      if (line.startsWith(";; MSG SIZE  rcvd:")) answers++;
      return answers === questions.length ? "whole" : "more";
    };
    const asking = { ...options, meaning, input: questions.map((question) => `${question}\n`).join("") };
    const of = key ? `${key.name} ${key.algorithm} ${key.secret}` : "";
    const free = this.#take(of) ?? (await this.#next(of));
    const answer = free && (await this.#ask(free, of, asking));
    // It may have ended while it rested; to ask again does no harm.
    if (answer && answer.exitCode === undefined && answer.killedBy === undefined) return answer;
    answers = 0;
    return await withKeyFile(this.#options.folder, key, async (given) => {
      const args = ["-r", ...given, ...this.#options.args, "+noall", "+comments", "+question", "+answer", "+stats"];
      const dig = await startStanding("dig", [...args, "-f", "-"], key ? [key.secret] : []);
      return await this.#ask(dig, of, asking);
    });
  }

  async #ask(dig: StandingProgram, of: string, asking: Asking): Promise<ExecResult> {
    this.#busy++;
    const result = await dig.ask(asking);
    this.#busy--;
    if (dig.usable) this.#free(of, dig);
    return result;
  }

  #take(of: string): StandingProgram | undefined {
    const at = this.#resting.findLastIndex((one) => one.of === of && one.dig.usable);
    const [found] = at < 0 ? [] : this.#resting.splice(at, 1);
    clearTimeout(found?.over);
    return found?.dig;
  }

  /** The next that becomes free; undefined when there are few, or none is in time: a server that does not answer keeps them busy. */
  async #next(of: string): Promise<StandingProgram | undefined> {
    if (this.#busy < MOST_RESTING) return undefined;
    return await new Promise((resolve) => {
      const take = (dig: StandingProgram | undefined) => {
        clearTimeout(timer);
        this.#waiting.delete(waiting);
        resolve(dig);
      };
      const timer = setTimeout(() => take(undefined), WAIT_MS);
      const waiting = { of, take };
      this.#waiting.add(waiting);
    });
  }

  #free(of: string, dig: StandingProgram): void {
    const waiting = [...this.#waiting].find((one) => one.of === of);
    if (waiting) {
      waiting.take(dig);
      return;
    }
    const resting = { of, dig, over: setTimeout(() => this.#leave(resting), this.#options.restMs) };
    resting.over.unref();
    this.#resting.push(resting);
    const [first] = this.#resting;
    if (first && this.#resting.length > MOST_RESTING) this.#leave(first);
  }

  #leave(resting: Resting): void {
    clearTimeout(resting.over);
    resting.dig.end();
    this.#resting.splice(this.#resting.indexOf(resting), 1);
  }
}
