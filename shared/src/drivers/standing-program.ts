// SPDX-License-Identifier: Apache-2.0
/**
 * A program that stays and is asked again and again on its standard input, for where its start costs more than its answer. It is started
 * like any other (exec.ts): argument array, no shell, fixed environment; and each question has a time limit, an output limit, an abort
 * signal and a result of the same shape. A program that answered otherwise than expected is killed, so that no late answer meets the
 * next question. It ends by itself when this process does, because its standard input is closed then.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { StringDecoder } from "node:string_decoder";
import { commandLineOf, type ExecOptions, type ExecResult, SYSTEM_PATH, which } from "../exec.ts";

const OUTPUT_CHARACTERS = 8 * 1024 * 1024;

/** What a line of output means for a question: its answer goes on, is whole, or will not come. */
export type LineMeaning = "more" | "whole" | "failed";

/** A question to a program that stays. */
export interface Asking extends Pick<ExecOptions, "timeoutMs" | "signal"> {
  /** Lines for standard input. */
  readonly input: string;
  /** Called with each line of standard output. */
  readonly meaning: (line: string) => LineMeaning;
}

/** A program that stays. */
export interface StandingProgram {
  /** False once it has ended or was killed; then a new one is needed. */
  readonly usable: boolean;
  /** Asks it, one question at a time. Never rejects; after a failed result it is not usable any more. */
  ask(asking: Asking): Promise<ExecResult>;
  end(): void;
}

/** Starts a program. One that is not installed says so in the result of its first question. */
export async function startStanding(
  program: string,
  args: readonly string[],
  secrets: readonly string[] = [],
): Promise<StandingProgram> {
  const named = { program, commandLine: commandLineOf(program, args, secrets) };
  const path = await which(program);
  if (path === undefined) {
    const result = { ...UNANSWERED, ...named, missing: true, stdout: "", stderr: "", ms: 0 };
    return { usable: false, ask: () => Promise.resolve(result), end: () => undefined };
  }
  return new Standing(spawn(path, [...args], { env: { LC_ALL: "C", PATH: SYSTEM_PATH }, stdio: "pipe" }), named);
}

const UNANSWERED = {
  failed: true,
  missing: false,
  timedOut: false,
  aborted: false,
  outputLimited: false,
  exitCode: undefined,
  killedBy: undefined,
};

type How = "whole" | "failed" | "ended" | "timedOut" | "aborted" | "outputLimited";
type End = Partial<Pick<ExecResult, "exitCode" | "killedBy">>;
type Listener = (text: string, stream: "stdout" | "stderr") => void;

class Standing implements StandingProgram {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #named: Pick<ExecResult, "program" | "commandLine">;
  #usable = true;
  #end: End = {};
  #listener: Listener;
  #onEnd: () => void = () => undefined;

  constructor(child: ChildProcessWithoutNullStreams, named: Pick<ExecResult, "program" | "commandLine">) {
    this.#child = child;
    this.#named = named;
    this.#listener = this.#unasked;
    // It must not keep this process alive; the timer of a question under way does.
    child.unref();
    for (const pipe of [child.stdin, child.stdout, child.stderr]) (pipe as Socket).unref();
    for (const stream of ["stdout", "stderr"] as const) {
      const decoder = new StringDecoder("utf8");
      child[stream].on("data", (chunk: Buffer) => this.#listener(decoder.write(chunk), stream));
    }
    child.stdin.on("error", () => undefined);
    child.on("error", () => this.#over({}));
    child.once("close", (code, killedBy) =>
      this.#over({ exitCode: code ?? undefined, killedBy: killedBy ?? undefined }),
    );
  }

  get usable(): boolean {
    return this.#usable;
  }

  end(): void {
    this.#usable = false;
    this.#child.kill("SIGKILL");
  }

  async ask({ input, meaning, timeoutMs, signal }: Asking): Promise<ExecResult> {
    const startedAt = performance.now();
    const output = { stdout: "", stderr: "" };
    const answered = Promise.withResolvers<How>();
    const onAbort = () => answered.resolve("aborted");
    const timer = setTimeout(() => answered.resolve("timedOut"), timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    this.#onEnd = () => answered.resolve("ended");
    let read = 0;
    this.#listener = (text, stream) => {
      output[stream] += text;
      if (output[stream].length > OUTPUT_CHARACTERS) answered.resolve("outputLimited");
      for (let end = output.stdout.indexOf("\n", read); end >= 0; end = output.stdout.indexOf("\n", read)) {
        const meant = meaning(output.stdout.slice(read, end));
        if (meant !== "more") answered.resolve(meant);
        read = end + 1;
      }
    };
    if (this.#usable) this.#child.stdin.write(input);
    else answered.resolve("ended");
    const how = await answered.promise;
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    this.#listener = this.#unasked;
    if (how !== "whole") this.end();
    const end = how === "ended" ? this.#end : {};
    const reasons = { failed: how !== "whole", ...(how in UNANSWERED ? { [how]: true } : {}) };
    return { ...UNANSWERED, ...this.#named, ...output, ...reasons, ...end, ms: performance.now() - startedAt };
  }

  #over(end: End): void {
    this.#usable = false;
    this.#end = end;
    this.#onEnd();
  }

  /** The empty line after an answer is none; anything else that nobody asked for is not to be trusted. */
  readonly #unasked: Listener = (text) => {
    if (text.trim() !== "") this.end();
  };
}
