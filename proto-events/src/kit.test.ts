// SPDX-License-Identifier: Apache-2.0
/** The kit: the declaring functions give back what they got, names go to the wire, roles follow from effects. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { contract, event, type Handlers, operation, roleOf, telemetry, wireName } from "./kit.ts";
import { allEvents, allOperations, CONTRACTS } from "./registry.ts";
import { isToken } from "./subjects.ts";

const restart = operation({
  summary: "Start a service again.",
  scope: "core",
  effect: "change",
  idempotent: true,
  timeoutMs: 1_000,
  permission: "sample:service:restart",
  input: z.strictObject({ service: z.string().describe("Service.") }),
  output: z.object({ restarted: z.boolean() }),
  errors: [],
  http: null,
  cli: null,
});
const restarted = event({
  summary: "A service was started again.",
  version: 2,
  payload: z.object({ service: z.string() }),
});
const load = telemetry({ summary: "Load.", payload: z.object({ load1: z.number() }) });
const sample = contract({
  service: "sample",
  summary: "A sample.",
  operations: { restartService: restart },
  events: { "service.restarted": restarted },
  telemetry: { load },
});

describe("the wire name of an operation", () => {
  test.each([
    ["list", "list"],
    ["listNodes", "list-nodes"],
    ["checkHealthNow", "check-health-now"],
  ])("of %s is %s", (name, wire) => {
    expect(wireName(name)).toBe(wire);
  });

  test("is a token, and different for different names", () => {
    const camelCase = fc.stringMatching(/^[a-z]{1,8}([A-Z][a-z]{1,8}){0,3}$/);
    fc.assert(
      fc.property(camelCase, camelCase, (one, other) => {
        expect(isToken(wireName(one))).toBe(true);
        expect(wireName(one) === wireName(other)).toBe(one === other);
      }),
    );
  });
});

describe("the least role of an operation", () => {
  test.each([
    ["read", "viewer"],
    ["change", "operator"],
    ["destroy", "admin"],
  ] as const)("with effect %s is %s", (effect, role) => {
    expect(roleOf({ effect })).toBe(role);
  });

  test("is the one that its contract names", () => {
    expect(roleOf({ effect: "read", role: "admin" })).toBe("admin");
  });
});

describe("the registry", () => {
  test("lists every operation with service, name and wire name", () => {
    expect(allOperations([sample])).toEqual([
      { service: "sample", name: "restartService", wire: "restart-service", spec: restart },
    ]);
  });

  test("lists every event by its full type", () => {
    expect([...allEvents([sample])]).toEqual([["sample.service.restarted", restarted]]);
  });

  test("walks all contracts when none are given", () => {
    expect(new Set(allOperations().map(({ service }) => service)).size).toBeLessThanOrEqual(CONTRACTS.length);
    expect(allEvents().size).toBe(CONTRACTS.reduce((sum, { events }) => sum + Object.keys(events).length, 0));
  });
});

describe("the handlers of a contract", () => {
  test("are asked for by scope, each with its types; the type checker refuses what is missing or wrong", () => {
    type Core = Handlers<typeof sample, "core", object>;
    const complete: Core = { restartService: ({ service }) => ({ restarted: service.length > 0 }) };
    const none: Handlers<typeof sample, "node", object> = {};
    // @ts-expect-error restartService is missing
    const missing: Core = {};
    // @ts-expect-error the output has another shape
    const wrong: Core = { restartService: () => ({ restarted: "yes" }) };

    expect([complete, none, missing, wrong].map((handlers) => Object.keys(handlers).length)).toEqual([1, 0, 0, 1]);
  });
});
