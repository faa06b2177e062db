// SPDX-License-Identifier: Apache-2.0
/**
 * Checks signatures of records on all cores. A few are checked here; threads start when there are many. What waits is
 * bounded: `add` answers with a promise when the caller has to wait.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { isGenuine } from "./genuine.ts";
import type { SignatureBatch } from "./signature-worker.ts";
import type { Identity } from "./trust.ts";

/** A record whose author is known. */
export interface SignedLine {
  readonly line: string;
  readonly identity: Identity;
}

const BATCH = 256;
/** Fewer than this take less time than threads take to start. */
const WORTH_THREADS = 2_048;
/** Batches that one thread has before it: one in work, one to go on with. */
const AHEAD = 2;

interface Thread {
  readonly worker: Worker;
  readonly batches: (readonly SignedLine[])[];
}

/** A pool of threads that lives as long as one verification. */
export class SignaturePool<T extends SignedLine> {
  /** Signatures checked so far. */
  checked = 0;
  readonly #onForged: (entry: T) => void;
  readonly #threads: Thread[] = [];
  #waiting: T[] = [];
  #wake: (() => void) | undefined;
  #failure: Error | undefined;

  /** `onForged` is called for every record that its identity did not sign, in no particular order. */
  constructor(onForged: (entry: T) => void) {
    this.#onForged = onForged;
  }

  /** Takes a record. A promise means that there is no room for more until it resolves. @throws what a thread threw */
  add(entry: T): Promise<void> | undefined {
    this.#waiting.push(entry);
    if (this.#threads.length === 0 && this.#waiting.length < WORTH_THREADS) return undefined;
    if (this.#threads.length === 0) this.#start();
    this.#dispatch();
    return this.#waiting.length >= WORTH_THREADS ? this.#room(() => this.#waiting.length < WORTH_THREADS) : undefined;
  }

  /** Resolves when everything is checked. @throws what a thread threw */
  async drain(): Promise<void> {
    if (this.#threads.length === 0) {
      for (const entry of this.#waiting.splice(0)) {
        this.checked++;
        if (!isGenuine(entry.line, entry.identity.key)) this.#onForged(entry);
      }
    }
    this.#dispatch(true);
    await this.#room(() => this.#waiting.length === 0 && this.#threads.every(({ batches }) => batches.length === 0));
  }

  /** Ends the threads. */
  async stop(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map(({ worker }) => worker.terminate()));
  }

  #start(): void {
    for (let i = 0; i < availableParallelism(); i++) {
      const worker = new Worker(new URL("./signature-worker.ts", import.meta.url));
      const thread: Thread = { worker, batches: [] };
      worker.on("message", (forged: readonly number[]) => this.#take(thread, forged));
      worker.on("error", (error: Error) => this.#fail(error));
      worker.on("exit", () => {
        if (thread.batches.length > 0) this.#fail(new Error("a thread that checks signatures ended"));
      });
      this.#threads.push(thread);
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  #take(thread: Thread, forged: readonly number[]): void {
    const batch = (thread.batches.shift() ?? []) as readonly T[];
    this.checked += batch.length;
    for (const index of forged) {
      const entry = batch[index];
      if (entry) this.#onForged(entry);
    }
    this.#dispatch(this.#isDraining);
    this.#wake?.();
  }

  #isDraining = false;

  #dispatch(isDraining = false): void {
    this.#isDraining = isDraining;
    for (const thread of this.#threads) {
      while (thread.batches.length < AHEAD && this.#waiting.length >= (isDraining ? 1 : BATCH)) {
        const batch = this.#waiting.splice(0, BATCH);
        thread.batches.push(batch);
        const message: SignatureBatch = {
          lines: batch.map(({ line }) => line),
          publicKeys: batch.map(({ identity }) => identity.publicKey),
        };
        thread.worker.postMessage(message);
      }
    }
  }

  async #room(isThere: () => boolean): Promise<void> {
    while (!isThere()) {
      if (this.#failure) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure) throw this.#failure;
  }
}
