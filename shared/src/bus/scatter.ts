// SPDX-License-Identifier: Apache-2.0
/**
 * One request to each of many nodes, with an exact census (DESIGN.md 5). Each request carries a reply subject that names its
 * target, so an answer belongs to whoever was asked and a node can answer for itself only. It ends with the last expected
 * answer or at the deadline, never on silence; a second answer of the same target is counted and dropped.
 */
import { randomUUID } from "node:crypto";
import { ERROR_KINDS } from "@debvisor/proto-events/errors";
import type { TargetStatus, WireError } from "@debvisor/proto-events/replies";
import { rpcSubject } from "@debvisor/proto-events/subjects";
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import type { z } from "zod";
import type { CallOptions, Scatter, TargetAnswer } from "./bus.ts";
import { endOfTurn } from "./turn.ts";
import { busError, isNoResponders, malformed, parseReply, requestHeaders } from "./wire.ts";

/** Kinds with which a target declines before any effect. */
const REFUSALS: ReadonlySet<string> = new Set([
  "invalid-argument",
  "unauthenticated",
  "permission-denied",
  "precondition-failed",
  "busy",
]);
/** Requests written between two turns of the event loop, so that a scatter to 10,000 does not hold up everybody else. */
const BURST = 1_000;

export interface ScatterOptions extends CallOptions {
  readonly timeoutMs: number;
  /** Schema that a good answer's data must satisfy; without it only the frame is checked. */
  readonly output?: z.ZodType;
}

/** What the wire says of one scatter under way. */
interface Running {
  readonly targets: readonly string[];
  readonly open: boolean[];
  readonly startedAt: number;
  readonly output: z.ZodType | undefined;
  readonly queue: AnswerQueue;
  left: number;
  timer: NodeJS.Timeout | undefined;
}

/** Sends scatters over one connection; all of them share one reply subscription. */
export class Scatterer {
  readonly #connection: NatsConnection;
  readonly #prefix: string;
  readonly #running = new Map<string, Running>();
  #next = 0;
  /** Answers that came after their target had been settled. */
  surplus = 0;

  constructor(connection: NatsConnection, inbox: string) {
    this.#connection = connection;
    this.#prefix = `${inbox}.scatter`;
    connection.subscribe(`${this.#prefix}.>`, { callback: (error, message) => void (error ?? this.#receive(message)) });
  }

  /**
   * Starts a scatter. Ids in `targets` must differ. With `ready` nothing is sent until it resolves; on false every target
   * ends as unreachable.
   */
  send(
    targets: readonly string[],
    service: string,
    wire: string,
    input: unknown,
    options: ScatterOptions,
    ready?: Promise<boolean>,
  ): Scatter {
    const id = (this.#next++).toString(36);
    const queue = new AnswerQueue();
    const running: Running = {
      targets,
      open: targets.map(() => true),
      startedAt: performance.now(),
      output: options.output,
      queue,
      left: targets.length,
      timer: undefined,
    };
    if (targets.length === 0) queue.end();
    else {
      this.#running.set(id, running);
      running.timer = setTimeout(() => this.#expire(id, running), options.timeoutMs);
      const publish = () => this.#publish(id, running, service, wire, input, options);
      if (ready !== undefined) void ready.then((connected) => (connected ? publish() : this.#abandon(id, running)));
      else publish();
    }
    return { answers: queue };
  }

  #publish(id: string, running: Running, service: string, wire: string, input: unknown, options: ScatterOptions): void {
    const payload = new TextEncoder().encode(JSON.stringify(input));
    const headers = requestHeaders({ ...options, requestId: options.requestId ?? randomUUID() });
    const burst = (from: number): void => {
      const to = Math.min(from + BURST, running.targets.length);
      for (let i = from; i < to; i++) {
        try {
          this.#connection.publish(rpcSubject(running.targets[i] ?? "", service, wire), payload, {
            reply: `${this.#prefix}.${id}.${i.toString(36)}`,
            headers,
          });
        } catch (cause) {
          // A connection that is closed or closing, or a message that is too large: nothing was sent.
          const error = busError(cause, `${service} ${wire}`).toWire();
          this.#settle(id, running, i, statusOf(error), undefined, error);
        }
      }
      if (to < running.targets.length && running.left > 0) setImmediate(burst, to);
    };
    void endOfTurn().then(() => burst(0));
  }

  #receive(message: Msg): void {
    const tail = message.subject.slice(this.#prefix.length + 1);
    const dot = tail.indexOf(".");
    const running = this.#running.get(tail.slice(0, dot));
    const index = Number.parseInt(tail.slice(dot + 1), 36);
    if (!running?.open[index]) {
      this.surplus++;
      return;
    }
    const id = tail.slice(0, dot);
    if (isNoResponders(message)) {
      this.#settle(id, running, index, "unreachable", undefined, {
        code: "UNAVAILABLE",
        kind: "unavailable",
        message: "The node is not on the bus.",
      });
      return;
    }
    const answer = judge(message.string(), running.output);
    if ("error" in answer) this.#settle(id, running, index, statusOf(answer.error), undefined, answer.error);
    else this.#settle(id, running, index, "ok", answer.raw);
  }

  #settle(id: string, running: Running, index: number, status: TargetStatus, raw?: string, error?: WireError): void {
    if (!running.open[index]) return;
    running.open[index] = false;
    running.left--;
    const ms = Math.round((performance.now() - running.startedAt) * 100) / 100;
    running.queue.push({
      node: running.targets[index] ?? "",
      status,
      ms,
      ...(raw === undefined ? {} : { raw }),
      ...(error ? { error } : {}),
    });
    if (running.left > 0) return;
    clearTimeout(running.timer);
    this.#running.delete(id);
    running.queue.end();
  }

  #abandon(id: string, running: Running): void {
    const message = "The bus is not connected; nothing was sent.";
    const error: WireError = { code: "BUS_UNAVAILABLE", kind: "unavailable", message };
    for (const [index, open] of running.open.entries()) {
      if (open) this.#settle(id, running, index, "unreachable", undefined, error);
    }
  }

  #expire(id: string, running: Running): void {
    const error: WireError = {
      code: "TIMEOUT",
      kind: "timeout",
      message: "No answer in time; whether the operation took effect is unknown.",
    };
    for (const [index, open] of running.open.entries()) {
      if (open) this.#settle(id, running, index, "timed-out", undefined, error);
    }
  }
}

/** Judges an answer: the data's text when it is what the schema asks for, otherwise the error. */
function judge(text: string, output: z.ZodType | undefined): { raw: string } | { error: WireError } {
  const reply = parseReply(text);
  if ("error" in reply) return reply;
  let data: unknown;
  try {
    data = JSON.parse(reply.dataJson);
  } catch {
    return { error: malformed("The answer is not valid JSON.") };
  }
  if (output && !output.safeParse(data).success)
    return { error: malformed("The answer does not match the operation's schema.") };
  return { raw: reply.dataJson };
}

function statusOf(error: WireError): TargetStatus {
  if (error.kind === "unavailable") return "unreachable";
  if (error.kind === "timeout") return "timed-out";
  return REFUSALS.has(error.kind) && ERROR_KINDS[error.kind] ? "refused" : "failed";
}

/** Answers in order of arrival, for one reader. Bounded by the number of targets. */
class AnswerQueue implements AsyncIterable<TargetAnswer> {
  readonly #items: TargetAnswer[] = [];
  #at = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  push(answer: TargetAnswer): void {
    this.#items.push(answer);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<TargetAnswer> {
    for (;;) {
      const item = this.#items[this.#at];
      if (item) {
        this.#at++;
        yield item;
      } else if (this.#ended) return;
      else await this.#pause();
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }
}
