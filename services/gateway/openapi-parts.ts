// SPDX-License-Identifier: Apache-2.0
/** Parts of the OpenAPI document: schemas, parameters, and the routes that are no operations. */
import { EVENTS_PERMISSION, METRICS_PERMISSION } from "@debvisor/proto-events/gateway";
import { z } from "zod";
import { EventQuery } from "./model/event-query.ts";
import { PARAMETER_EXAMPLES } from "./openapi-examples.ts";

export type Json = Record<string, unknown>;

/**
 * JSON Schema of what a caller sends (`input`) or gets (`output`). Contracts grow by additions, so what a caller gets may hold
 * more than is written here: zod's `additionalProperties: false` would have generated clients refuse the next version.
 */
export function schemaOf(schema: z.ZodType, io: "input" | "output"): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: "any",
    target: "draft-2020-12",
    override: ({ jsonSchema }) => {
      if (io === "output" && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
    },
  });
  return rest as Json;
}

/** A parameter, with an example where there is one. The schema's description becomes the parameter's. */
export function parameter(name: string, where: string, required: boolean, { description, ...schema }: Json): Json {
  const example = PARAMETER_EXAMPLES[name];
  return {
    name,
    in: where,
    required,
    ...(description === undefined ? {} : { description }),
    ...(example === undefined ? {} : { example }),
    schema,
  };
}

/** What an entity tag in If-Match stands for, by how the route honours it. */
const CONDITIONS: Readonly<Record<"plan" | "revision" | "object", string>> = {
  plan: "Digest of the plan that was looked at, as mode=plan answers it in ETag; 412 when the world has moved since.",
  revision: "ETag of the operation; 412 when it is at another revision.",
  object: "ETag of the object, read before; 412 when it has changed since.",
};

/** Parameters in headers. */
export function headerParameters(route: {
  readonly keyed: boolean;
  readonly condition: "plan" | "revision" | "object" | "none";
  readonly cacheable: boolean;
}): Json[] {
  const text = (name: string, required: boolean, description: string, more: Json = {}) =>
    parameter(name, "header", required, { type: "string", ...more, description });
  return [
    ...(route.keyed
      ? [
          text("Idempotency-Key", true, "Random value; a repeat with the same one gets the first answer.", {
            minLength: 1,
            maxLength: 255,
          }),
          text("Dv-User", false, "Who typed it, in the client's own words; recorded, and not checked."),
        ]
      : []),
    ...(route.condition === "none" ? [] : [text("If-Match", false, CONDITIONS[route.condition])]),
    ...(route.cacheable
      ? [text("If-None-Match", false, "ETag of an earlier answer; 304 without a body when it still holds.")]
      : []),
  ];
}

const PROBLEM = {
  description: "Any other status: a problem document.",
  content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
};

/** Routes that are no operations. */
export function fixedPaths(headers: Json): Record<string, Json> {
  const document = { type: "object" };
  return {
    "/v1/events": { get: events(headers) },
    "/v1/openapi.json": plain("gatewayOpenapi", "This document.", "application/json", document),
    "/v1/asyncapi.json": plain("gatewayAsyncapi", "The event stream's document.", "application/json", document),
    "/healthz": plain("gatewayLive", "Whether the process lives.", "application/json", {
      type: "object",
      properties: { status: { const: "live" } },
      required: ["status"],
    }),
    "/readyz": ready(),
    "/metrics": {
      get: {
        ...get("gatewayMetrics", "Prometheus metrics; without a key from loopback only.", "text/plain", {
          type: "string",
        }),
        description: `Permission ${METRICS_PERMISSION} (role viewer).`,
        "x-permission": METRICS_PERMISSION,
      },
    },
  };
}

function get(operationId: string, summary: string, type: string, schema: Json): Json {
  const responses = { 200: { description: summary, content: { [type]: { schema } } }, default: PROBLEM };
  return { operationId, summary, tags: ["gateway"], responses };
}

function plain(operationId: string, summary: string, type: string, schema: Json): Json {
  return { get: { ...get(operationId, summary, type, schema), security: [] } };
}

function ready(): Json {
  const schema = {
    type: "object",
    properties: { status: { enum: ["ready", "starting"] }, waitsFor: { type: "string" } },
    required: ["status"],
  };
  const summary = "Whether requests can be answered, and what is missing.";
  const content = { "application/json": { schema } };
  return {
    get: {
      ...get("gatewayReady", summary, "application/json", schema),
      security: [],
      responses: {
        200: { description: "Requests are answered.", content },
        503: { description: "Something is missing; waitsFor says what.", content },
        default: PROBLEM,
      },
    },
  };
}

function events(headers: Json): Json {
  const { properties = {} } = schemaOf(EventQuery, "input") as { properties?: Record<string, Json> };
  return {
    operationId: "gatewayEvents",
    summary: "Receive events as Server-Sent Events, or upgrade to a WebSocket. /v1/asyncapi.json describes the frames.",
    description: `Permission ${EVENTS_PERMISSION} (role viewer). Resumes after \`since\` or Last-Event-ID without gap or duplicate.`,
    tags: ["gateway"],
    parameters: [
      ...Object.entries(properties).map(([name, schema]) => parameter(name, "query", false, schema)),
      parameter("Last-Event-ID", "header", false, {
        type: "string",
        pattern: "^[0-9]{1,15}$",
        description: "Sequence of the last event seen; browsers send it when they come back. It wins over since.",
      }),
    ],
    responses: {
      101: { description: "WebSocket." },
      200: {
        description: "Events.",
        headers,
        content: { "text/event-stream": { schema: { $ref: "#/components/schemas/EventFrame" } } },
      },
      default: PROBLEM,
    },
    "x-permission": EVENTS_PERMISSION,
  };
}
