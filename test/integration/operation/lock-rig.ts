// SPDX-License-Identifier: Apache-2.0
/** Tables of locks on a real bus, for tests: any number of them, each with its own connection, and who is live. */
import { randomBytes } from "node:crypto";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { type LockClaim, type LockTable, openLockTable } from "@debvisor/shared/operation/lock-table";
import { onTestFinished } from "vitest";
import type { BusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";

/** A random operation id. */
export function operationId(): string {
  const letters = Array.from(randomBytes(13), (byte) => "abcdefghijklmnopqrstuvwxyz234567"[byte % 32]);
  return `op-${letters.join("")}`;
}

/** What an operation asks for. */
export function claim(resources: readonly string[], given: Partial<LockClaim> = {}): LockClaim {
  const fixed = { type: "host.restart-unit", actor: "ann", reason: "test", priority: 0, expiresAt: null };
  return { operation: operationId(), ...fixed, resources, ...given };
}

/** Tables of one cluster. */
export class LockRig {
  readonly cluster: BusCluster;
  /** Operations that have ended. */
  readonly dead = new Set<string>();

  constructor(cluster: BusCluster) {
    this.cluster = cluster;
  }

  /** A table with its own connection, read; stopped at the end of the test. */
  async open(wrap: (bus: Pick<Bus, "bucket">) => Pick<Bus, "bucket"> = (bus) => bus): Promise<LockTable> {
    const bus = wrap(await this.cluster.connectCore("node-agent"));
    const isLive = (operation: string) => Promise.resolve(!this.dead.has(operation));
    const table = await openLockTable({ bus, log: this.cluster.log, isLive });
    onTestFinished(() => table.stop());
    await waitFor(
      () => table.ready,
      10_000,
      () => "the table is not ready",
    );
    return table;
  }
}

/** What a connection does to the answer of a write. */
export type Fate = "ok" | "lost-answer" | "lost-request";

/** A connection that loses answers to writes, or the writes themselves; everything else is the real bucket. */
export function lossy(bus: Pick<Bus, "bucket">, fate: () => Fate): Pick<Bus, "bucket"> {
  const write = async (action: () => Promise<number>): Promise<number> => {
    const how = fate();
    if (how === "lost-request") throw new DvError("BUS_UNAVAILABLE", "the request was lost");
    const revision = await action();
    if (how === "lost-answer") throw new DvError("BUS_UNAVAILABLE", "the answer was lost");
    return revision;
  };
  return {
    bucket: async (name, schema) => {
      const real = await bus.bucket(name, schema);
      return {
        get: (key) => real.get(key),
        list: () => real.list(),
        create: (key, value, options) => write(() => real.create(key, value, options)),
        update: (key, value, revision, options) => write(() => real.update(key, value, revision, options)),
        delete: (key, revision) => real.delete(key, revision),
        look: (key) => real.look(key),
        lastRevision: () => real.lastRevision(),
        watch: (onChange, onReady) => real.watch(onChange, onReady),
      };
    },
  };
}

/** A connection whose watch can be held up, as that of a process that is slow or far away; everything else is at once. */
export class Laggard {
  #held: (() => void)[] | undefined;

  pause(): void {
    this.#held ??= [];
  }

  resume(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const deliver of held) deliver();
  }

  readonly wrap = (bus: Pick<Bus, "bucket">): Pick<Bus, "bucket"> => ({
    bucket: async (name, schema) => {
      const real = await bus.bucket(name, schema);
      return {
        get: (key) => real.get(key),
        list: () => real.list(),
        create: (key, value, options) => real.create(key, value, options),
        update: (key, value, revision, options) => real.update(key, value, revision, options),
        delete: (key, revision) => real.delete(key, revision),
        look: (key) => real.look(key),
        lastRevision: () => real.lastRevision(),
        watch: (onChange, onReady) =>
          real.watch((change) => {
            if (this.#held) this.#held.push(() => onChange(change));
            else onChange(change);
          }, onReady),
      };
    },
  });
}
