// SPDX-License-Identifier: Apache-2.0
/**
 * Following an operation to its end: long polls that go on across gateways that come and go, progress on the way, and how it
 * ended as an exit code. Ctrl-C ends the command, never the operation.
 */
import { FINAL_STATES, Operation } from "@debvisor/proto-events/durable";
import { errorEntry } from "@debvisor/proto-events/errors";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { DvError, fromWire } from "@debvisor/shared/errors";
import { SECOND_MS } from "@debvisor/shared/units";
import type { ApiReply, Client } from "./client.ts";
import { type Call, EXIT } from "./command.ts";
import { drawOutcome } from "./operation-text.ts";
import { createProgress, type Progress } from "./progress.ts";

/** Longest wait of one poll on the server: who answers may be killed meanwhile, and then nobody says so. */
const POLL_SECONDS = 5;
const POLL_SLACK_MS = 5_000;
const PAUSE_MS = 500;
/** How long nobody may answer before the command gives up; the operation goes on. */
const AWAY_LIMIT_MS = 120_000;
/** A server that was away may not know for a moment what another one has accepted. */
const UNKNOWN_LIMIT_MS = 10_000;
const LOOK_MS = 6_000;

/** An operation with the reply that told of it. */
export interface Seen {
  readonly operation: Operation;
  readonly reply: ApiReply;
}

/** Whether to stop at what was seen. */
export type Until = (operation: Operation) => boolean;

/** Nothing more will happen by itself. */
export function hasEnded({ state }: Operation): boolean {
  return FINAL_STATES.has(state) || state === "stuck";
}

/** Reads an operation from a reply. @throws MALFORMED_REPLY */
export function readOperation(reply: ApiReply): Seen {
  const checked = Operation.safeParse(reply.body);
  if (checked.success) return { operation: checked.data, reply };
  const issue = checked.error.issues[0];
  throw new DvError("MALFORMED_REPLY", `${reply.server}: ${issue?.path.join(".")}: ${issue?.message}`, {
    cause: checked.error,
  });
}

/** Asks for one operation. @throws OPERATION_NOT_FOUND */
export async function getOperation(id: string, client: Client): Promise<Seen> {
  const path = `/v1/operations/${encodeURIComponent(id)}`;
  return readOperation(await client.request({ method: "GET", path, timeoutMs: LOOK_MS }));
}

/**
 * Follows until `until` says so. Undefined when the command was interrupted; what happens to the operation then has been said.
 * @throws UNAVAILABLE when nobody answered for two minutes
 */
export async function followOperation(
  start: Seen,
  call: Call,
  until: Until = hasEnded,
  clock: Clock = systemClock,
): Promise<Seen | undefined> {
  const progress = createProgress(call, clock);
  const poll = new Poll(start.operation.id ?? "", call, progress, clock);
  let seen = start;
  try {
    while (!until(seen.operation)) {
      progress.update(seen.operation);
      seen = (await poll.next(seen)) ?? seen;
      if (!call.signal.aborted) continue;
      progress.clear();
      sayGoesOn(seen.operation, call);
      return undefined;
    }
  } finally {
    progress.clear();
  }
  return seen;
}

function sayGoesOn({ id, state }: Operation, { output }: Call): void {
  if (state === "paused" || FINAL_STATES.has(state)) return;
  output.info(
    `${id} goes on; see it again: dvctl operations wait ${id}; stop it and undo what it did: dvctl operations cancel ${id}`,
  );
}

/* One poll after the other; what may pass is waited for, up to a limit. */
class Poll {
  readonly #path: string;
  readonly #id: string;
  readonly #call: Call;
  readonly #progress: Progress;
  readonly #clock: Clock;
  readonly #client: Client;
  #failedSince: number | undefined;

  constructor(id: string, call: Call, progress: Progress, clock: Clock) {
    this.#id = id;
    this.#path = `/v1/operations/${encodeURIComponent(id)}/wait`;
    this.#call = call;
    this.#progress = progress;
    this.#clock = clock;
    this.#client = call.client();
  }

  async next({ operation }: Seen): Promise<Seen | undefined> {
    const { signal } = this.#call;
    try {
      const seen = readOperation(
        await this.#client.request({
          method: "GET",
          path: this.#path,
          query: { after: operation.revision, seconds: POLL_SECONDS },
          timeoutMs: POLL_SECONDS * SECOND_MS + POLL_SLACK_MS,
          attempts: 1,
        }),
      );
      this.#failedSince = undefined;
      // A server that is behind another one must not turn the clock back.
      return seen.operation.revision < operation.revision ? undefined : seen;
    } catch (error) {
      if (signal.aborted) return undefined;
      this.#bear(error);
      await this.#clock.sleep(PAUSE_MS, signal);
      return undefined;
    }
  }

  #bear(error: unknown): void {
    if (!(error instanceof DvError)) throw error;
    const limitMs = this.#limitOf(error);
    const first = this.#failedSince === undefined;
    this.#failedSince ??= this.#clock.monotonic();
    if (this.#clock.monotonic() - this.#failedSince > limitMs) throw this.#given(error, limitMs);
    if (!first) return;
    this.#progress.clear();
    this.#call.output.warn(`${error.message}; ${this.#id} goes on, asking again`);
  }

  #limitOf({ kind, code }: DvError): number {
    if (code === "OPERATION_NOT_FOUND") return UNKNOWN_LIMIT_MS;
    return kind === "unavailable" || kind === "timeout" || kind === "busy" ? AWAY_LIMIT_MS : 0;
  }

  #given(error: DvError, limitMs: number): DvError {
    if (limitMs === 0) return error;
    return new DvError(error.code, `${error.message}; how ${this.#id} ends is not known here`, {
      kind: error.kind,
      details: { ...error.details, hint: `see it again with: dvctl operations wait ${this.#id}` },
      cause: error,
    });
  }
}

/** Prints how an operation ended; returns the exit code. */
export function reportOutcome({ operation, reply }: Seen, call: Call, wanted: Wanted = "done"): number {
  const { output } = call;
  const style = { color: output.color, nowMs: Date.now() };
  output.result(reply.body, () => drawOutcome(operation, style, output.verbose), reply.text);
  const code = outcomeCode(operation, wanted);
  const { id, error, repair, state, undoable } = operation;
  if (error !== null && code !== EXIT.ok) {
    output.error(`${id} ${state}: ${error.message} (${error.code})`);
    const remedy = errorEntry(error.code)?.remedy;
    if (remedy !== undefined && repair === null) output.info(`what to do: ${remedy.replaceAll(" ID`", ` ${id}\``)}`);
  }
  if (state === "stuck") output.error(`${id} is stuck and keeps its locks`);
  if (repair !== null) output.info(`repair: ${repair}`);
  if (undoable && state === "succeeded" && operation.changed !== false)
    output.info(`undo: dvctl operations rollback ${id}`);
  return code;
}

/** What the command wanted of the operation: that it is done, undone, or held. */
export type Wanted = "done" | "undone" | "paused";

/**
 * Exit code of an operation that was followed (DESIGN.md 9). Refused: by the error's kind. Where no target answered: 4.
 * Everything else that is not what was wanted: 5.
 */
export function outcomeCode({ state, error, targets }: Operation, wanted: Wanted = "done"): number {
  if (wanted === "paused") return state === "paused" || state === "queued" ? EXIT.ok : EXIT.failed;
  if (wanted === "undone") return state === "rolled-back" || state === "cancelled" ? EXIT.ok : EXIT.failed;
  if (state === "succeeded") return EXIT.ok;
  if (state === "refused" && error !== null) return fromWire(error).exitCode;
  const answered = targets.filter(({ status }) => status !== "skipped" && status !== "unreachable");
  const away = targets.some(({ status }) => status === "unreachable");
  return away && answered.length === 0 ? EXIT.unavailable : EXIT.failed;
}
