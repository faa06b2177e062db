// SPDX-License-Identifier: Apache-2.0
/**
 * The ports of one engine instance: everything that it awaits of the world outside. Each call is numbered, and a hook may get in
 * the way before the call reaches the real thing or before its answer is seen. A frozen instance is as one that was killed: what
 * it awaits never comes, and no further call of it goes through.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { AuditEmitter } from "@debvisor/shared/audit/emitter";
import type { Bucket, Bus, Journal } from "@debvisor/shared/bus/bus";
import type { LockTable } from "@debvisor/shared/operation/lock-table";

export type When = "before" | "after";

/** One call at one of its two moments. `k` counts the calls of the instance from 1. */
export interface PortCall {
  readonly k: number;
  readonly port: string;
  readonly when: When;
}

/** What gets in the way: it may wait, throw, or freeze the instance. */
export type Hook = (call: PortCall, ports: Ports) => void | Promise<void>;

/** What the engine reads beside its operation, such as the picture of all operations, is no step of it and not counted. */
const outside = new AsyncLocalStorage<true>();

/** Runs what must not be counted. */
export function uncounted<T>(action: () => T): T {
  return outside.run(true, action);
}

/** The ports of one instance. */
export class Ports {
  /** Names of the calls so far. */
  readonly calls: string[] = [];
  /** Resolves when the instance has been frozen. */
  readonly frozen: Promise<void>;
  readonly #hook: Hook;
  readonly #onFrozen: () => void;
  #isFrozen = false;

  constructor(hook: Hook = () => undefined) {
    this.#hook = hook;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.frozen = promise;
    this.#onFrozen = resolve;
  }

  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  /** Kills the instance. */
  freeze(): void {
    this.#isFrozen = true;
    this.#onFrozen();
  }

  /** Lets a call through, or not. */
  async through<T>(port: string, real: () => Promise<T>): Promise<T> {
    if (this.#isFrozen) return await never();
    if (outside.getStore()) return await real();
    this.calls.push(port);
    const k = this.calls.length;
    await this.#hook({ k, port, when: "before" }, this);
    if (this.#isFrozen) return await never();
    try {
      return await real();
    } finally {
      if (!this.#isFrozen) await this.#hook({ k, port, when: "after" }, this);
      if (this.#isFrozen) await never();
    }
  }
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}

/** A journal whose calls go through the ports. `follow` stands for the test's own reader of the stream. */
export function portJournal(real: Journal, ports: Ports, follow: Journal["follow"]): Journal {
  return {
    append: (key, text, options) => ports.through("log.append", () => real.append(key, text, options)),
    read: (key) => ports.through("log.read", () => real.read(key)),
    at: (seq) => ports.through("log.at", () => real.at(seq)),
    last: (key) => ports.through("log.last", () => real.last(key)),
    range: () => ports.through("log.range", () => real.range()),
    follow,
  };
}

/** A table of locks likewise. Stopping it is left to whoever opened it. */
export function portLocks(real: LockTable, ports: Ports): LockTable {
  return {
    get ready() {
      return real.ready;
    },
    acquire: (claim, options) => ports.through("locks.acquire", () => real.acquire(claim, options)),
    release: (operation) => ports.through("locks.release", () => real.release(operation)),
    list: () => real.list(),
    blockersOf: (operation) => real.blockersOf(operation),
    stop: () => Promise.resolve(),
  };
}

/** An audit emitter likewise. */
export function portAudit(real: AuditEmitter, ports: Ports): AuditEmitter {
  return { record: (body) => ports.through(`audit.${body.kind}`, () => real.record(body)) };
}

type AnyCall = (...args: unknown[]) => Promise<unknown>;

/** A connection whose requests, orders, events and buckets go through the ports. Watches say at once that they have seen all. */
export function portBus(real: Bus, ports: Ports): Bus {
  const gated = (name: "request" | "command" | "publishEvent"): AnyCall => {
    const call = (real[name] as unknown as AnyCall).bind(real);
    return (...args) => ports.through(`bus.${name}`, () => call(...args));
  };
  const calls: Readonly<Record<string, unknown>> = {
    request: gated("request"),
    command: gated("command"),
    publishEvent: gated("publishEvent"),
    bucket: async (...args: Parameters<Bus["bucket"]>) => portBucket(await real.bucket(...args), ports),
  };
  return new Proxy(real, {
    get: (target, property) => {
      const own = typeof property === "string" ? calls[property] : undefined;
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

function portBucket<T>(real: Bucket<T>, ports: Ports): Bucket<T> {
  return {
    get: (key) => ports.through("bucket.get", () => real.get(key)),
    look: (key) => ports.through("bucket.look", () => real.look(key)),
    list: () => ports.through("bucket.list", () => real.list()),
    create: (key, value, options) => ports.through("bucket.create", () => real.create(key, value, options)),
    update: (key, value, revision, options) =>
      ports.through("bucket.update", () => real.update(key, value, revision, options)),
    delete: (key, revision) => ports.through("bucket.delete", () => real.delete(key, revision)),
    lastRevision: () => ports.through("bucket.lastRevision", () => real.lastRevision()),
    watch: (_onChange, onReady) => {
      onReady?.();
      return Promise.resolve({ stop: () => Promise.resolve() });
    },
  };
}
