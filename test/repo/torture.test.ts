// SPDX-License-Identifier: Apache-2.0
/** Every durable operation is tortured (RULES.md 25), and nothing is tortured that is none. */
import { allOperations } from "@debvisor/proto-events/registry";
import { expect, it } from "vitest";
import { TORTURED } from "../support/operation-torture-worlds.ts";

it("every durable operation of the contracts has a world in test/support/operation-torture-worlds.ts", () => {
  const durable = allOperations().filter(({ spec }) => spec.durable);

  expect(durable.length).toBeGreaterThan(0);
  expect([...TORTURED].sort()).toEqual(durable.map(({ service, wire }) => `${service}.${wire}`).sort());
});
