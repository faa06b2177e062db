// SPDX-License-Identifier: Apache-2.0
/** Rules that every contract obeys (STYLE.md B4). What breaks one is named by service and operation. */
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { FINAL_STATES, fanOutOptions, Operation, OperationState, operationOptions, splitOptions } from "./durable.ts";
import { ENGINES } from "./engine.ts";
import { ERROR_CODES, GENERAL_ERROR_CODES } from "./errors.ts";
import { roleOf, wireName } from "./kit.ts";
import { allEvents, allOperations, CONTRACTS, contractsOf, type RegisteredOperation } from "./registry.ts";
import { BUCKETS, STREAMS } from "./streams.ts";
import { isToken, rpcSubject } from "./subjects.ts";

const operations = allOperations();
const events = [...allEvents()];
/** Programs that `apps/cli` installs. */
const PROGRAMS = [
  "dvctl",
  "debvisor-health-check",
  "debvisor-join",
  "debvisor-maintenance",
  "debvisor-audit-verify",
  "debvisor-dns-update",
];
const durables = operations.filter(({ spec }) => spec.durable);

/** Names of the operations that fail a rule. */
function breaking(
  rule: (operation: RegisteredOperation) => boolean,
  among: readonly RegisteredOperation[] = operations,
): string[] {
  return among.filter((operation) => !rule(operation)).map(({ service, name }) => `${service}.${name}`);
}

function duplicates(list: readonly string[]): string[] {
  return list.filter((item, i) => list.indexOf(item) !== i);
}

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly additionalProperties?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
}

function inputSchema({ spec }: RegisteredOperation): JsonSchema {
  return z.toJSONSchema(spec.input, { io: "input" }) as JsonSchema;
}

/** Paths of the fields below a schema that have no description. */
function undescribed(schema: JsonSchema, path = ""): string[] {
  const own = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const here = `${path}.${name}`;
    return [...(field.description?.trim() ? [] : [here]), ...undescribed(field, here)];
  });
  return [...own, ...(schema.items ? undescribed(schema.items, `${path}[]`) : [])];
}

describe("every service", () => {
  test("has a name of its own that can stand in a subject, and a summary", () => {
    expect(duplicates(CONTRACTS.map(({ service }) => service))).toEqual([]);
    expect(CONTRACTS.filter(({ service }) => !isToken(service))).toEqual([]);
    expect(CONTRACTS.filter(({ summary }) => !/^[A-Z].*\.$/.test(summary))).toEqual([]);
  });

  test("uses only declared services, streams and buckets", () => {
    const services = new Set(["*", ...CONTRACTS.map(({ service }) => service)]);
    for (const { uses = {} } of CONTRACTS) {
      const called = [...(uses.calls ?? []), ...(uses.commands ?? [])];
      expect(called.filter((name) => !services.has(name))).toEqual([]);
      const buckets = [...(uses.bucketsRead ?? []), ...(uses.bucketsWrite ?? [])];
      expect(buckets.filter((bucket) => !Object.hasOwn(BUCKETS, bucket))).toEqual([]);
      expect((uses.events ?? []).filter((type) => !allEvents().has(type))).toEqual([]);
      const streams = [...(uses.streamsRead ?? []), ...(uses.streamsWatched ?? []), ...(uses.streamsWrite ?? [])];
      expect(streams.filter((stream) => !Object.hasOwn(STREAMS, stream))).toEqual([]);
    }
  });

  test("keeps operations and core events apart: what has a core part says what it uses", () => {
    const core = CONTRACTS.filter((contract) =>
      Object.values(contract.operations).some(({ scope }) => scope === "core"),
    );
    const saysWhat = ({ service, implementedBy }: (typeof CONTRACTS)[number]) =>
      contractsOf(implementedBy ?? service).some(({ uses }) => uses !== undefined);

    expect(core.filter((contract) => !saysWhat(contract)).map(({ service }) => service)).toEqual([]);
  });

  test("is implemented by a service that has a contract", () => {
    const services = new Set(CONTRACTS.map(({ service }) => service));

    expect(CONTRACTS.filter(({ implementedBy }) => implementedBy && !services.has(implementedBy))).toEqual([]);
  });
});

describe("every operation", () => {
  test("has a subject of its own on the wire", () => {
    expect(duplicates(operations.map(({ service, wire }) => rpcSubject("core", service, wire)))).toEqual([]);
  });

  test("has a route of its own, below /v1", () => {
    const routes = operations.flatMap(({ spec }) =>
      spec.http ? [`${spec.http.method} ${spec.http.path.replace(/\{\w+\}/g, "{}")}`] : [],
    );

    expect(duplicates(routes)).toEqual([]);
    expect(routes.filter((route) => !/ \/v1\/[a-z0-9-]+(\/([a-z0-9-]+|\{\}))*$/.test(route))).toEqual([]);
  });

  test("takes the parameters of its path as input", () => {
    const known = (operation: RegisteredOperation) => {
      const fields = Object.keys(inputSchema(operation).properties ?? {});
      const parameters = [...(operation.spec.http?.path ?? "").matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? "");
      return parameters.every((parameter) => fields.includes(parameter));
    };

    expect(breaking(known)).toEqual([]);
  });

  test("is called by GET exactly when a read without body is meant", () => {
    const fits = ({ spec: { http, effect } }: RegisteredOperation) =>
      http === null || http.method !== "GET" || effect === "read";

    expect(breaking(fits)).toEqual([]);
    expect(breaking(({ spec: { http, effect } }) => http?.method !== "DELETE" || effect === "destroy")).toEqual([]);
  });

  test("has a permission of the form <service>:<entity>:<verb>, and no other operation has it", () => {
    expect(
      breaking(({ service, spec }) => new RegExp(`^${service}:[a-z][a-z-]*:[a-z][a-z-]*$`).test(spec.permission)),
    ).toEqual([]);
    expect(duplicates(operations.map(({ spec }) => spec.permission))).toEqual([]);
  });

  test("has a summary in one sentence, and a limit in time", () => {
    expect(breaking(({ spec }) => /^[A-Z][^\n]*\.$/.test(spec.summary))).toEqual([]);
    expect(breaking(({ spec }) => spec.timeoutMs > 0 && spec.timeoutMs <= 60_000)).toEqual([]);
  });

  test("refuses fields that it does not know", () => {
    expect(breaking((operation) => inputSchema(operation).additionalProperties === false)).toEqual([]);
    expect(breaking(({ spec }) => !spec.input.safeParse({ surprise: 1 }).success)).toEqual([]);
  });

  test("describes every field of its input; an order to a node, whose parts are told by their types, only the fields of its own", () => {
    const found = operations.flatMap((operation) => {
      const { http, cli } = operation.spec;
      const deep = http !== null || cli !== null;
      return undescribed(inputSchema(operation))
        .filter((field) => deep || field.lastIndexOf(".") === 0)
        .map((field) => `${operation.service}.${operation.name}${field}`);
    });

    expect(found).toEqual([]);
  });

  test("lists codes of the catalogue, each once, and no general one that goes without saying", () => {
    expect(breaking(({ spec }) => spec.errors.every((code) => Object.hasOwn(ERROR_CODES, code)))).toEqual([]);
    expect(breaking(({ spec }) => duplicates(spec.errors).length === 0)).toEqual([]);
    const general = operations.flatMap(({ spec }) =>
      spec.errors.filter((code) => Object.hasOwn(GENERAL_ERROR_CODES, code) && code !== "NOT_FOUND"),
    );
    expect(general).toEqual([]);
  });

  test("declares an output that JSON can carry", () => {
    expect(breaking(({ spec }) => Boolean(z.toJSONSchema(spec.output)))).toEqual([]);
  });

  test("is named by a verb that the wire can spell", () => {
    expect(
      breaking(({ name, wire }) => /^[a-z]+([A-Z][a-z0-9]*)*$/.test(name) && wire === wireName(name) && isToken(wire)),
    ).toEqual([]);
    expect(breaking(({ name }) => !/^(handle|manage|process|do|execute|updateOrCreate)/.test(name))).toEqual([]);
  });
});

describe("an operation by its scope and effect", () => {
  const onNodes = operations.filter(({ spec }) => spec.scope === "node");
  const orders = onNodes.filter(({ spec }) => spec.effect !== "read");

  test("on nodes may be repeated", () => {
    expect(onNodes.length).toBeGreaterThan(0);
    expect(breaking(({ spec }) => spec.idempotent, onNodes)).toEqual([]);
  });

  test("that changes a node needs an order: it has neither route nor command, and somebody may give it", () => {
    const commanded = new Set(CONTRACTS.flatMap(({ uses }) => uses?.commands ?? []));

    expect(orders.length).toBeGreaterThan(0);
    expect(breaking(({ spec }) => spec.http === null && spec.cli === null, orders)).toEqual([]);
    expect(breaking(({ service }) => commanded.has(service), orders)).toEqual([]);
    expect(breaking(({ spec }) => spec.errors.includes("COMMAND_REFUSED"), orders)).toEqual([]);
    expect(breaking(({ spec }) => roleOf(spec) === "admin", orders)).toEqual([]);
  });

  test("that reads may be repeated", () => {
    expect(breaking(({ spec }) => spec.effect !== "read" || spec.idempotent)).toEqual([]);
  });

  test("that changes or destroys says what it changes and how that is undone", () => {
    const mutating = operations.filter(({ spec }) => spec.effect !== "read");

    expect(breaking(({ spec }) => typeof spec.idempotent === "boolean", mutating)).toEqual([]);
    expect(
      breaking(({ spec }) => spec.cli === null || Boolean(spec.cli.changes?.trim() && spec.cli.undo?.trim()), mutating),
    ).toEqual([]);
    // What one engine asks of another comes from a request that had a route.
    const internal = new Set<string>(Object.values(ENGINES).map(({ service }) => service));
    const routed = mutating.filter(({ service, spec }) => spec.scope === "core" && !internal.has(service));
    expect(breaking(({ spec }) => spec.http !== null && spec.http.method !== "GET", routed)).toEqual([]);
  });
});

describe("a durable operation", () => {
  const shape = ({ spec }: RegisteredOperation) => spec.input.shape as Readonly<Record<string, unknown>>;

  test("changes something through the core, by POST, and may be repeated", () => {
    expect(durables.length).toBeGreaterThan(0);
    expect(
      breaking(
        ({ spec }) =>
          spec.scope === "core" && spec.effect !== "read" && spec.idempotent && spec.http?.method === "POST",
        durables,
      ),
    ).toEqual([]);
  });

  test("answers with an operation", () => {
    expect(breaking(({ spec }) => spec.output === Operation, durables)).toEqual([]);
  });

  test("takes every option of the engine, and those for many nodes all or none", () => {
    const options = Object.keys(operationOptions);
    const many = Object.keys(fanOutOptions);

    expect(breaking((each) => options.every((option) => Object.hasOwn(shape(each), option)), durables)).toEqual([]);
    expect(
      breaking((each) => {
        const present = many.filter((option) => Object.hasOwn(shape(each), option)).length;
        return present === 0 || present === many.length;
      }, durables),
    ).toEqual([]);
  });

  test("has fields of its own that are no options, so that the two can be told apart", () => {
    const input = { node: "node-2", mode: "plan", wait: "10m", concurrency: 3 };

    expect(splitOptions(input)).toMatchObject({
      own: { node: "node-2" },
      options: { mode: "plan", wait: "10m", concurrency: 3, priority: 5 },
    });
    expect(splitOptions(input).own).toEqual({ node: "node-2" });
  });

  test("names its version, the field that selects its targets, and what the engine may refuse", () => {
    const refusals = ["CHECK_FAILED", "PLAN_STALE", "LOCK_HELD", "IN_MAINTENANCE", "AUDIT_UNAVAILABLE"] as const;

    expect(breaking(({ spec }) => Number.isInteger(spec.durable?.version), durables)).toEqual([]);
    expect(
      breaking((each) => {
        const targets = each.spec.durable?.targets ?? null;
        return targets === null || Object.hasOwn(shape(each), targets);
      }, durables),
    ).toEqual([]);
    expect(breaking(({ spec }) => refusals.every((code) => spec.errors.includes(code)), durables)).toEqual([]);
  });

  test("that limits what it touches in a failure domain touches at least one there", () => {
    expect(
      breaking(({ spec }) => spec.durable?.mostPerDomain === undefined || spec.durable.mostPerDomain >= 1, durables),
    ).toEqual([]);
  });

  test("ends in a known state, and is not ended while it is stuck: it holds its locks", () => {
    expect([...FINAL_STATES].filter((state) => !OperationState.options.includes(state))).toEqual([]);
    expect(FINAL_STATES.has("stuck")).toBe(false);
    expect(FINAL_STATES.has("paused")).toBe(false);
  });
});

describe("a command", () => {
  const commands = operations.flatMap((operation) =>
    operation.spec.cli ? [{ ...operation, cli: operation.spec.cli }] : [],
  );

  test("has words of its own", () => {
    expect(duplicates(commands.map(({ cli }) => [cli.noun, cli.verb].filter(Boolean).join(" ")))).toEqual([]);
  });

  test("has a noun of one word, and a verb of one or two", () => {
    expect(breaking(({ spec }) => /^[a-z]+$/.test(spec.cli?.noun ?? ""), commands)).toEqual([]);
    expect(breaking(({ spec }) => /^[a-z]+( [a-z]+)?$/.test(spec.cli?.verb ?? "show"), commands)).toEqual([]);
  });

  test("shows examples that begin with a known program and say what they do", () => {
    const shown = commands.flatMap(({ cli }) => [...cli.examples, ...(cli.scenarios ?? [])]);

    expect(commands.filter(({ cli }) => cli.examples.length === 0)).toEqual([]);
    expect(shown.filter(({ command }) => !PROGRAMS.includes(command.split(" ")[0] ?? ""))).toEqual([]);
    expect(shown.filter(({ does }) => !/^[A-Z].*\.$/.test(does))).toEqual([]);
  });

  test("shows itself in every example of its own", () => {
    const own = ({ cli }: (typeof commands)[number]) =>
      cli.examples.every(({ command }) =>
        command.startsWith(`dvctl ${[cli.noun, cli.verb].filter(Boolean).join(" ")}`),
      );

    expect(breaking((operation) => own(operation as (typeof commands)[number]), commands)).toEqual([]);
  });

  test("takes as words only fields of its input", () => {
    const known = (operation: RegisteredOperation) =>
      (operation.spec.cli?.args ?? []).every((arg) => Object.hasOwn(inputSchema(operation).properties ?? {}, arg));

    expect(breaking(known)).toEqual([]);
  });
});

describe("every event", () => {
  test("is a fact about an entity", () => {
    const names = events.map(([type]) => type.split(".").slice(1));

    expect(names.filter((parts) => parts.length !== 2 || !parts.every(isToken))).toEqual([]);
    // Past tense: regular, or one of the irregular words that are in use.
    expect(
      names.filter(([, fact = ""]) => !/(ed|lost|seen|gone|begun|left|broken|split|stuck|rebuilt)$/.test(fact)),
    ).toEqual([]);
    expect(names.filter(([, fact = ""]) => /event$/.test(fact))).toEqual([]);
  });

  test("has a summary, a version and a payload that is an object", () => {
    expect(events.filter(([, spec]) => !/^[A-Za-z].*[.]$/.test(spec.summary)).map(([type]) => type)).toEqual([]);
    expect(events.filter(([, spec]) => !Number.isInteger(spec.version) || spec.version < 1)).toEqual([]);
    expect(
      events
        .filter(([, { payload }]) => (z.toJSONSchema(payload, { io: "output" }) as JsonSchema).type !== "object")
        .map(([type]) => type),
    ).toEqual([]);
  });
});

describe("streams and buckets", () => {
  test("have names of their kind, a purpose and a bound", () => {
    expect(Object.keys(STREAMS).filter((name) => !/^DV_[A-Z]+$/.test(name))).toEqual([]);
    expect(Object.keys(BUCKETS).filter((name) => !/^dv_[a-z]+$/.test(name))).toEqual([]);
    for (const spec of [...Object.values(STREAMS), ...Object.values(BUCKETS)]) {
      expect(spec.summary).toMatch(/\.$/);
      expect(spec.maxBytes).toBeGreaterThan(0);
    }
  });
});
