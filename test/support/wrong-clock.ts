// SPDX-License-Identifier: Apache-2.0
/**
 * A wall clock of a machine's own (libfaketime). Node processes follow it, also when it is set while they run; time that passes is real.
 * nats-server does not: it is written in Go and asks the kernel directly. A worker has none, so all of a worker is under the clock.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import path from "node:path";

const TRIPLETS: Readonly<Record<string, string>> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };
const LIBRARY = `/usr/lib/${TRIPLETS[arch()] ?? ""}/faketime/libfaketime.so.1`;

/** What this machine lacks for wrong clocks; empty when it can have them. */
export function wrongClocksLack(): string[] {
  return existsSync(LIBRARY) ? [] : ["libfaketime"];
}

/** A clock that differs from the right one. */
export class WrongClock implements Disposable {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "dv-clock-"));

  /** `time`: what it shows now. */
  constructor(time: Date) {
    this.set(time);
  }

  /** Sets it to `time` while programs run; they see it within a second. */
  set(time: Date): void {
    const seconds = Math.round((time.getTime() - Date.now()) / 1_000);
    writeFileSync(this.#file, `${seconds < 0 ? "-" : "+"}${Math.abs(seconds)}\n`);
  }

  /** Environment that puts a program under this clock. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: LIBRARY,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_CACHE_DURATION: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      NO_FAKE_STAT: "1",
    };
  }

  setRight(): void {
    this.set(new Date());
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #file(): string {
    return path.join(this.#folder, "offset");
  }
}
