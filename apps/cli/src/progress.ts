// SPDX-License-Identifier: Apache-2.0
/** Progress of an operation on standard error: a bar where it is a terminal, else plain lines under `--verbose`. */
import type { Operation } from "@debvisor/proto-events/durable";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { printable } from "@debvisor/shared/output";
import { formatDuration, SECOND_MS } from "@debvisor/shared/units";
import type { Call } from "./command.ts";
import { currentStep } from "./operation-text.ts";

const BAR_WIDTH = 20;
const DEFAULT_COLUMNS = 80;
/** Time between two plain lines. */
const LINE_MS = 2_000;
/** Carriage return and "erase the line" (ECMA-48, EL 2). */
const ERASE = "\r\u001b[2K";

/** Shows how far an operation is. */
export interface Progress {
  update(operation: Operation): void;
  /** Takes the bar away, so that a message can be written. */
  clear(): void;
}

/** Makes the progress of a command; `--no-progress` keeps the bar away. */
export function createProgress(
  { screen, output, input }: Pick<Call, "screen" | "output" | "input">,
  clock: Clock = systemClock,
): Progress {
  if (screen && input["noProgress"] !== true) {
    let shown = false;
    return {
      update: (operation) => {
        const columns = screen.columns || DEFAULT_COLUMNS;
        screen.write(`${ERASE}${printable(barText(operation)).slice(0, columns - 1)}`);
        shown = true;
      },
      clear: () => {
        if (shown) screen.write(ERASE);
        shown = false;
      },
    };
  }
  let told = "";
  let toldAtMs = Number.NEGATIVE_INFINITY;
  let waited: string | null = null;
  return {
    update: (operation) => {
      const { id, state, waitsFor } = operation;
      if (waitsFor !== null && waitsFor !== waited) output.info(`${id} waits for ${waitsFor}`);
      waited = waitsFor;
      const line = `${id} ${state} ${barText(operation)}`;
      if (line === told || clock.monotonic() - toldAtMs < LINE_MS) return;
      told = line;
      toldAtMs = clock.monotonic();
      output.debug(line);
    },
    clear: () => undefined,
  };
}

/** `[#########-----------]  45 %  9/20  12/min  ETA 55s  node-2: write /etc/motd`. */
export function barText(operation: Operation): string {
  const { percent, done, total, ratePerMinute, etaSeconds } = operation.progress;
  const filled = Math.round((percent / 100) * BAR_WIDTH);
  const parts = [
    `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}]`,
    `${String(Math.floor(percent)).padStart(3)} %`,
    `${done}/${total}`,
    ratePerMinute === null ? "" : `${Math.round(ratePerMinute)}/min`,
    etaSeconds === null ? "" : `ETA ${formatDuration(etaSeconds * SECOND_MS)}`,
    operation.state === "undoing" ? "undoing" : "",
    currentStep(operation),
  ];
  return parts.filter((part) => part !== "").join("  ");
}
