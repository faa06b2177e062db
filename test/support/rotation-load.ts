// SPDX-License-Identifier: Apache-2.0
/** Changes of records while keys are replaced again and again: every one of them has to take effect. */
import { setTimeout } from "node:timers/promises";
import type { Operation } from "@debvisor/proto-events/durable";

export interface LoadOptions {
  readonly updates: number;
  readonly rotations: number;
  readonly clients: number;
  readonly change: (name: string, address: string) => Promise<Operation>;
  readonly rotate: () => Promise<Operation>;
}

export interface LoadResult {
  /** Address of each name that a change ended well for, or how it ended otherwise. */
  readonly wanted: ReadonlyMap<string, string>;
  readonly failed: readonly string[];
  /** How each rotation ended. */
  readonly rotations: readonly string[];
  /** Milliseconds of each step of each rotation, for people. */
  readonly timings: readonly string[];
  /** Changes that ended while keys were replaced. */
  readonly during: number;
}

/** Clients change records of their own, until all changes are made and all rotations have ended. */
export async function rotateUnderLoad({
  updates,
  rotations,
  clients,
  change,
  rotate,
}: LoadOptions): Promise<LoadResult> {
  const wanted = new Map<string, string>();
  const failed: string[] = [];
  const ended: string[] = [];
  const timings: string[] = [];
  let [next, during, rotating] = [0, 0, false];
  const client = async () => {
    // Goes on for as long as keys are replaced, so that no rotation is without changes.
    while (next < updates || ended.length < rotations) {
      const number = next++;
      const [name, address] = [`load-${number}`, `192.0.2.${(number % 250) + 1}`];
      const { state, error } = await change(name, address);
      if (state === "succeeded") wanted.set(name, address);
      else failed.push(`${name}: ${state} ${error?.code} ${error?.message}`);
      if (rotating) during++;
    }
  };
  const rotator = async () => {
    // Spread over all changes.
    for (let i = 0; i < rotations; i++) {
      while (next < (i * updates) / rotations) await setTimeout(50);
      rotating = true;
      const { state, error, steps } = await rotate();
      rotating = false;
      timings.push(steps.map(({ id, ms }) => `${id} ${Math.round(ms ?? 0)}`).join(", "));
      ended.push(error ? `${state} ${error.code} ${error.message}` : state);
    }
  };
  await Promise.all([rotator(), ...Array.from({ length: clients }, client)]);
  return { wanted, failed, rotations: ended, during, timings };
}
