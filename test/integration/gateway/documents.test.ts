// SPDX-License-Identifier: Apache-2.0
/**
 * The two API documents as an integrator meets them: valid by tools that are not ours, complete in every operation, and true:
 * each GET route is called with the document's own examples, and its answer is checked against the document's own schema.
 */
import { createRequire } from "node:module";
import { allEvents, allOperations } from "@debvisor/proto-events/registry";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { asyncapiDocument, withServer } from "../../../services/gateway/asyncapi.ts";
import { openapiDocument } from "../../../services/gateway/openapi.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, metrics, type Rig, startPeers, startRig, until } from "./rig.ts";
import { startAuditor, startEngine, startMembership, startNames } from "./stand-ins.ts";
import { Client } from "./stream-client.ts";

type Json = Record<string, unknown>;

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required: boolean;
  readonly description?: string;
  readonly example?: unknown;
  readonly schema: Json;
}

interface Response {
  readonly description: string;
  readonly headers?: Json;
  readonly content?: Record<string, { readonly schema: Json }>;
}

interface Operation {
  readonly operationId: string;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Json; readonly example?: unknown }> };
  readonly responses: Record<string, Response>;
  readonly security?: readonly Json[];
  readonly "x-permission"?: string;
}

const openapi = openapiDocument("0.1.0") as Json & { paths: Record<string, Record<string, Operation>> };
const routes = Object.entries(openapi.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, path, operation] as const),
);
const operationIds = new Set(allOperations().map(({ spec }) => `${spec.http?.method} ${spec.http?.path}`));
const contractRoutes = routes.filter(([title]) => operationIds.has(title));

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addFormat("base64", /^[A-Za-z0-9+/]*={0,2}$/);
ajv.addSchema(openapi, "openapi");

/** What a schema of the document finds wrong with a value. References are to the document. */
function findings(schema: Json, value: unknown): unknown {
  const text = JSON.stringify(schema).replaceAll('"#/components', '"openapi#/components');
  const validate = ajv.compile(JSON.parse(text) as Json);
  return validate(value) ? null : validate.errors;
}

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;

beforeAll(async () => {
  await startPeers(cluster(), ["node-1", "node-2"]);
  await startEngine(cluster());
  await startAuditor(cluster());
  await startNames(cluster());
  await startMembership(cluster());
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());

describe("the OpenAPI document", () => {
  it("is valid OpenAPI 3.1 by an outside validator", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(openapi));

    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
  });

  it("is what the gateway serves, under every operation's own id", async () => {
    const ids = routes.map(([, , { operationId }]) => operationId);

    expect((await ask(rig, "/v1/openapi.json", { key: "" })).body).toEqual(JSON.parse(JSON.stringify(openapi)));
    expect(new Set(ids).size).toBe(ids.length);
    expect(contractRoutes).toHaveLength(allOperations().filter(({ spec }) => spec.http).length);
  });

  it.each(routes)("says of %s what it does, what it takes and how it fails", (_title, path, operation) => {
    const { summary, parameters = [], responses, tags, requestBody } = operation;
    const body = requestBody?.content["application/json"];
    const fields = Object.entries((body?.schema["properties"] ?? {}) as Record<string, Json>);
    const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name);

    expect(summary).toMatch(/^[A-Z].*\.$/);
    expect(tags).toHaveLength(1);
    expect(parameters.filter(({ description }) => !description).map(({ name }) => name)).toEqual([]);
    expect(parameters.filter(({ required, example }) => required && example === undefined)).toEqual([]);
    expect(parameters.filter((each) => each.in === "path").map(({ name }) => name)).toEqual(inPath);
    expect(fields.filter(([, schema]) => !schema["description"]).map(([name]) => name)).toEqual([]);
    expect(fields.length === 0 || body?.example !== undefined).toBe(true);
    expect(responses["default"]?.content?.["application/problem+json"]).toBeDefined();
  });

  it.each(contractRoutes)("names for %s the permission and every refusal as a problem", (title, _path, operation) => {
    const { responses, security, description } = operation;
    const refusals = Object.entries(responses).filter(([status]) => Number(status) >= 400);
    const codes = refusals.map(([, { content }]) => content?.["application/problem+json"]?.schema);
    const spec = allOperations().find(({ spec: { http } }) => `${http?.method} ${http?.path}` === title)?.spec;

    expect(operation["x-permission"]).toBe(spec?.permission);
    expect(description).toContain(spec?.permission);
    expect(security ?? openapi["security"]).toEqual([{ key: [] }]);
    expect(Object.keys(responses)).toEqual(expect.arrayContaining(["400", "401", "403", "429", "500", "503", "504"]));
    expect(codes).not.toContain(undefined);
    for (const code of spec?.errors ?? []) expect(JSON.stringify(codes)).toContain(`"${code}"`);
    expect(responses["429"]?.headers).toHaveProperty("Retry-After");
    expect(responses["401"]?.headers).toHaveProperty("WWW-Authenticate");
  });

  it("describes a fan-out with its census and a result for each node, also as NDJSON", () => {
    const fanOuts = allOperations().filter(({ spec }) => spec.scope === "node" && spec.http);
    for (const { spec } of fanOuts) {
      const content = openapi.paths[spec.http?.path ?? ""]?.["get"]?.responses["200"]?.content;
      const properties = content?.["application/json"]?.schema["properties"];

      expect(properties).toMatchObject({
        census: { required: ["total", "digest", "ok", "failed", "refused", "unreachable", "timedOut", "skipped"] },
        results: { type: "array", items: { required: ["node", "name", "status", "ms"] } },
      });
      expect(content?.["application/x-ndjson"]).toBeDefined();
    }
    expect(fanOuts.length).toBeGreaterThan(0);
  });

  it("holds examples that its own schemas accept", () => {
    for (const [title, , { parameters = [], requestBody }] of routes) {
      for (const { name, example, schema } of parameters)
        if (example !== undefined) expect([title, name, findings(schema, example)]).toEqual([title, name, null]);
      const body = requestBody?.content["application/json"];
      if (body?.example !== undefined) expect([title, findings(body.schema, body.example)]).toEqual([title, null]);
    }
    const { schemas } = openapi["components"] as { schemas: Record<string, Json & { examples?: unknown[] }> };
    expect(findings(schemas["Problem"] ?? {}, schemas["Problem"]?.examples?.[0])).toBeNull();
  });

  it("lets answers grow: a field that it does not know is no fault", () => {
    const closed: string[] = [];
    const visit = (value: unknown, at: string): void => {
      if (typeof value !== "object" || value === null) return;
      if ((value as Json)["additionalProperties"] === false) closed.push(at);
      for (const [key, inner] of Object.entries(value)) visit(inner, `${at}/${key}`);
    };
    for (const [title, , { responses }] of routes) visit(responses, title);
    visit(openapi["components"], "components");
    expect(closed).toEqual([]);
  });
});

describe("a client that knows the document only", () => {
  const readable = routes.filter(([title]) => title.startsWith("GET ") && title !== "GET /v1/events");

  it.each(readable)("gets from %s what the document promises", async (_title, path, operation) => {
    const { parameters = [], responses } = operation;
    const value = (name: string) => encodeURIComponent(String(parameters.find((each) => each.name === name)?.example));
    const query = parameters
      .filter((each) => each.in === "query" && each.example !== undefined)
      .map(({ name }) => `${name}=${value(name)}`);
    const url = `${path.replace(/\{([^}]+)\}/g, (_all, name: string) => value(name))}?${query.join("&")}`;
    const reply = await ask(rig, query.length === 0 ? url.slice(0, -1) : url);
    const [type = ""] = (reply.headers.get("content-type") ?? "").split(";");
    const schema = responses[String(reply.status)]?.content?.[type]?.schema;

    expect([reply.status, schema === undefined]).toEqual([200, false]);
    expect(findings(schema ?? {}, reply.body ?? reply.text)).toBeNull();
    for (const header of Object.keys(responses["200"]?.headers ?? {}))
      expect([...reply.headers.keys()]).toContain(header.toLowerCase());
  });

  it("reads a fan-out line by line", async () => {
    const schema = openapi.paths["/v1/metrics"]?.["get"]?.responses["200"]?.content?.["application/x-ndjson"]?.schema;
    const { text } = await ask(rig, "/v1/metrics?nodes=all", { headers: { accept: "application/x-ndjson" } });

    for (const line of text.trimEnd().split("\n")) expect(findings(schema ?? {}, JSON.parse(line))).toBeNull();
    expect(text.trimEnd().split("\n")).toHaveLength(3);
    expect(text).toContain(JSON.stringify(metrics).slice(0, 20));
  });

  it.each(contractRoutes)("is refused by %s as the document says", async (title, path, { responses }) => {
    const [method = "GET"] = title.split(" ");
    const reply = await ask(rig, path.replace(/\{[^}]+\}/g, "NOT%20A%20NAME"), { method, key: "" });
    const schema = responses["401"]?.content?.["application/problem+json"]?.schema;

    expect(reply.status).toBe(401);
    expect(findings(schema ?? {}, reply.body)).toBeNull();
  });
});

describe("the AsyncAPI document", () => {
  const document = asyncapiDocument("0.1.0") as Json & {
    components: { messages: Record<string, { readonly payload: Json }> };
  };

  it("is valid AsyncAPI 3.0 by the specification's own schema", () => {
    const schema = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0.json") as Json;
    // The schema brings the draft that it is written in along; a second copy of it would be ambiguous.
    const draft7 = new Ajv({ strict: false, allErrors: true, meta: false, validateSchema: false });
    addFormats.default(draft7);
    const validate = draft7.compile(schema);

    validate(withServer(document, "127.0.0.1:8420", true));
    expect(validate.errors).toBeNull();
  });

  it("has a message for every event, and frames off the wire are what it says", async () => {
    const client = new Client(rig, "?since=0");
    await ask(rig, "/v1/nodes", { key: "" });
    await until(() => client.seqs.length > 0 && client.has("caught-up"), "frames");
    const faults = client.frames.map((frame) => {
      const message = document.components.messages[frame.control === undefined ? (frame.type ?? "") : "control"];
      return message ? findings(message.payload, frame) : `no message describes ${JSON.stringify(frame)}`;
    });
    client.socket.close();

    expect(Object.keys(document.components.messages)).toEqual(expect.arrayContaining([...allEvents().keys()]));
    expect(faults.filter((fault) => fault !== null)).toEqual([]);
  });
});
