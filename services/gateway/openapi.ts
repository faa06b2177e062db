// SPDX-License-Identifier: Apache-2.0
/**
 * The OpenAPI 3.1 document, made from the contracts. Operations of scope `node` appear with `nodes=` and the shape of a fan-out,
 * errors with the codes that the operation may answer with. zod writes the schemas; swagger plugins would need a second
 * declaration of every route.
 */
import { ERROR_CODES, ERROR_KINDS, type ErrorCode, GENERAL_ERROR_CODES } from "@debvisor/proto-events/errors";
import { roleOf } from "@debvisor/proto-events/kit";
import { NodeSelection } from "@debvisor/proto-events/primitives";
import { allOperations, CONTRACTS, type RegisteredOperation } from "@debvisor/proto-events/registry";
import { Census, EventFrame, fanOut, Problem, targetResult } from "@debvisor/proto-events/replies";
import { conditionKindOf } from "./condition.ts";
import { successStatus } from "./mutation.ts";
import { BODY_EXAMPLES, PROBLEM_EXAMPLE } from "./openapi-examples.ts";
import { fixedPaths, headerParameters, type Json, parameter, schemaOf } from "./openapi-parts.ts";

const HEADERS = {
  "X-Request-Id": {
    description: "Id of the request; in logs, events and problem documents as well.",
    schema: { type: "string" },
  },
  traceresponse: { description: "Trace and span that answered.", schema: { type: "string" } },
};

/** Makes the document. */
export function openapiDocument(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const operation of allOperations()) {
    const { http } = operation.spec;
    if (!http) continue;
    paths[http.path] = { ...paths[http.path], [http.method.toLowerCase()]: describe(operation) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "DebVisor",
      version,
      description: "Control plane of a DebVisor cluster. Made from the contracts in proto-events.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{ key: [] }],
    tags: CONTRACTS.filter(({ operations }) => Object.keys(operations).length > 0).map(({ service, summary }) => ({
      name: service,
      description: summary,
    })),
    paths: { ...paths, ...fixedPaths(HEADERS) },
    components: {
      securitySchemes: {
        key: {
          type: "http",
          scheme: "bearer",
          bearerFormat: "dv_<id>_<secret>",
          description: "API key; POST /v1/tokens makes one.",
        },
      },
      schemas: {
        Problem: { ...schemaOf(Problem, "output"), examples: [PROBLEM_EXAMPLE] },
        Census: schemaOf(Census, "output"),
        EventFrame: schemaOf(EventFrame, "output"),
      },
    },
  };
}

function describe(operation: RegisteredOperation): Json {
  const { service, name, spec } = operation;
  const body = bodySchema(operation);
  return {
    operationId: `${service}.${name}`.replace(/[^A-Za-z0-9]+(.)/g, (_all, letter: string) => letter.toUpperCase()),
    summary: spec.summary,
    description: `Permission ${spec.permission} (role ${roleOf(spec)}). Effect: ${spec.effect}.`,
    tags: [service],
    parameters: parameters(operation),
    ...(body
      ? {
          requestBody: {
            required: (body["required"] as unknown[] | undefined)?.length !== undefined,
            content: { "application/json": { schema: body, ...example(operation) } },
          },
        }
      : {}),
    responses: {
      ...successes(operation),
      ...(isCacheable(operation) ? { 304: { description: "Unchanged since the ETag that was sent." } } : {}),
      ...failures(operation),
    },
    "x-permission": spec.permission,
    "x-effect": spec.effect,
    "x-idempotent": spec.idempotent,
    ...(spec.durable ? { "x-durable": spec.durable } : {}),
  };
}

function example({ service, name }: RegisteredOperation): Json {
  const value = BODY_EXAMPLES[`${service}.${name}`];
  return value === undefined ? {} : { example: value };
}

function isCacheable({ spec }: RegisteredOperation): boolean {
  return spec.scope === "core" && spec.effect === "read" && spec.http?.method === "GET";
}

function pathFields(path: string): ReadonlySet<string> {
  return new Set([...path.matchAll(/\{([^}]+)\}/g)].map(([, field]) => field ?? ""));
}

function parameters(operation: RegisteredOperation): Json[] {
  const { spec } = operation;
  const { properties = {}, required = [] } = schemaOf(spec.input, "input") as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  const inPath = pathFields(spec.http?.path ?? "");
  const inQuery = spec.http?.method === "GET" || spec.http?.method === "DELETE";
  const fields = Object.entries(properties).flatMap(([name, schema]) => {
    if (inPath.has(name)) return [parameter(name, "path", true, schema)];
    return inQuery ? [parameter(name, "query", required.includes(name), schema)] : [];
  });
  const nodes = spec.scope === "node" ? [parameter("nodes", "query", true, schemaOf(NodeSelection, "input"))] : [];
  // The body may hold it as well; a link or a shell loop finds it easier here.
  const mode = spec.durable && properties["mode"] ? [parameter("mode", "query", false, properties["mode"])] : [];
  const headers = headerParameters({
    keyed: spec.effect !== "read",
    condition: conditionKindOf(operation, allOperations()).kind,
    cacheable: isCacheable(operation),
  });
  return [...fields, ...mode, ...nodes, ...headers];
}

function bodySchema({ spec }: RegisteredOperation): Json | undefined {
  if (spec.http?.method === "GET" || spec.http?.method === "DELETE") return undefined;
  const schema = schemaOf(spec.input, "input") as { properties?: Record<string, Json>; required?: string[] };
  const inPath = pathFields(spec.http?.path ?? "");
  const properties = Object.fromEntries(Object.entries(schema.properties ?? {}).filter(([name]) => !inPath.has(name)));
  const required = (schema.required ?? []).filter((name) => !inPath.has(name));
  if (Object.keys(properties).length === 0) return undefined;
  return { ...schema, properties, ...(required.length > 0 ? { required } : { required: undefined }) };
}

/** Durable operations answer 202 when they are to be applied, and 200 to a check or plan. */
function successes(operation: RegisteredOperation): Json {
  const one = success(operation);
  if (!operation.spec.durable) return { [successStatus(operation)]: one };
  const headers = one["headers"] as Json;
  return {
    200: {
      ...one,
      description: "What would happen (mode=check, mode=plan). No record of it is kept.",
      headers: { ...headers, ETag: { description: "Digest of the plan, for If-Match.", schema: { type: "string" } } },
    },
    202: {
      ...one,
      description: "The operation was accepted, or has ended already.",
      headers: {
        ...headers,
        Location: { description: "Where the operation is: /v1/operations/<id>.", schema: { type: "string" } },
      },
    },
  };
}

function success(operation: RegisteredOperation): Json {
  const { output, scope, summary, effect } = operation.spec;
  const headers: Json = { ...HEADERS };
  if (isCacheable(operation))
    headers["ETag"] = { description: "Entity tag, for If-None-Match and If-Match.", schema: { type: "string" } };
  if (effect !== "read")
    headers["Idempotent-Replayed"] = {
      description: "true on a repeat that got the stored answer.",
      schema: { type: "string" },
    };
  const content: Json = {
    "application/json": { schema: schemaOf(scope === "node" ? fanOut(output) : output, "output") },
  };
  if (scope === "node") {
    const line = {
      description: "One JSON object per line: results as they arrive, then {census}.",
      oneOf: [
        schemaOf(targetResult(output), "output"),
        { type: "object", properties: { census: { $ref: "#/components/schemas/Census" } }, required: ["census"] },
      ],
    };
    content["application/x-ndjson"] = { schema: line };
  }
  return { description: summary, headers, content };
}

/** Codes that a request can end with before or while it reaches the service. */
function codesOf(operation: RegisteredOperation): readonly ErrorCode[] {
  const { spec } = operation;
  const keyed: readonly ErrorCode[] =
    spec.effect === "read"
      ? []
      : ["IDEMPOTENCY_KEY_MISSING", "IDEMPOTENCY_KEY_REUSED", "IDEMPOTENCY_IN_PROGRESS", "AUDIT_UNAVAILABLE"];
  const selection: readonly ErrorCode[] = spec.scope === "node" ? ["NODE_NOT_FOUND"] : [];
  return [
    ...new Set([...(Object.keys(GENERAL_ERROR_CODES) as ErrorCode[]), ...keyed, ...selection, ...spec.errors]),
  ].filter((code) => code !== "CONFIG_INVALID");
}

function failures(operation: RegisteredOperation): Json {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codesOf(operation)) {
    const status =
      code === "RATE_LIMITED" ? 429 : code === "REQUEST_TOO_LARGE" ? 413 : ERROR_KINDS[ERROR_CODES[code].kind].http;
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const { kind } = conditionKindOf(operation, allOperations());
  if (kind !== "none") byStatus.set(412, [...(byStatus.get(412) ?? []), kind === "plan" ? "PLAN_STALE" : "CONFLICT"]);
  return {
    ...Object.fromEntries([...byStatus].map(([status, codes]) => [status, failure(status, codes)])),
    default: OTHER,
  };
}

/** What HTTP itself refuses before an operation is reached. */
const OTHER = {
  description: "405, 406, 408, 414, 415, 431: what HTTP itself refuses, as a problem document like the others.",
  headers: HEADERS,
  content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
};

/** Headers that a status brings along. */
const RETRY_AFTER = {
  "Retry-After": { description: "Seconds until the next try.", schema: { type: "integer", minimum: 1 } },
};
const FAILURE_HEADERS: Readonly<Record<number, Json>> = {
  401: { "WWW-Authenticate": { description: "Bearer.", schema: { type: "string" } } },
  423: RETRY_AFTER,
  429: RETRY_AFTER,
  503: RETRY_AFTER,
};

function failure(status: number, codes: readonly ErrorCode[]): Json {
  const schema = {
    allOf: [{ $ref: "#/components/schemas/Problem" }, { type: "object", properties: { code: { enum: codes } } }],
  };
  const description = codes.map((code) => `${code}: ${ERROR_CODES[code].summary}`).join("\n\n");
  return {
    description,
    headers: { ...HEADERS, ...FAILURE_HEADERS[status] },
    content: { "application/problem+json": { schema } },
  };
}
