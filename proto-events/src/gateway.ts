// SPDX-License-Identifier: Apache-2.0
/** What the gateway answers itself: the state of the whole, running services, error codes and API keys. */
import { z } from "zod";
import { contract, event, operation } from "./kit.ts";
import { Actor, NodeId, Timestamp } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

const ComponentState = z.enum(["ok", "degraded", "failed", "unknown"]);

/** State of one part of the cluster, with the time at which it was looked at. */
export const Component = z.object({
  component: z.string(),
  state: ComponentState,
  detail: z.string(),
  checkedAt: Timestamp,
});

/** A running service instance, as it describes itself under `$SRV`. */
export const ServiceInstance = z.object({
  service: z.string(),
  part: z.string().describe("core or node."),
  node: NodeId,
  nodeName: z.string(),
  instance: z.string(),
  version: z.string(),
  startedAt: Timestamp,
  requests: z.number().int().nonnegative(),
  errors: z.number().int().nonnegative(),
  averageMs: z.number().nonnegative(),
});

/** An API key without its secret. */
export const Token = z.object({
  id: z.string().describe("Public part of the key."),
  name: z.string(),
  role: z.enum(["viewer", "operator", "admin"]),
  scopes: z.array(z.string()).describe("Permission patterns that narrow the role; empty: all of the role."),
  createdAt: Timestamp,
  createdBy: Actor,
  expiresAt: Timestamp.nullable(),
  lastUsedAt: Timestamp.nullable(),
  revokedAt: Timestamp.nullable(),
});
export type Token = z.output<typeof Token>;

const PermissionPattern = z
  .string()
  .regex(/^(\*|[a-z0-9-]+(:([a-z0-9-]+|\*)){0,2})$/, "such as discovery:node:list, discovery:* or *")
  .describe("Permission or pattern, such as discovery:* .");

/** Permissions of what the gateway serves that is no operation. Viewers hold them. */
export const EVENTS_PERMISSION = "gateway:event:read";
export const METRICS_PERMISSION = "gateway:metrics:read";

export const gatewayContract = contract({
  service: "gateway",
  summary: "REST, events and API keys.",
  uses: {
    calls: ["*"],
    bucketsRead: ["dv_tokens", "dv_idempotency", "dv_nodes"],
    bucketsWrite: ["dv_tokens", "dv_idempotency"],
    streamsRead: ["DV_EVENTS"],
    streamsWatched: ["DV_OPS", "DV_AUDIT"],
    telemetry: true,
    census: true,
  },
  operations: {
    getStatus: operation({
      summary: "Show the state of the cluster and its components.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "gateway:status:get",
      input: z.strictObject({
        component: z.enum(["all", "bus", "nodes", "services"]).default("all").describe("Which part to look at."),
      }),
      output: z.object({
        cluster: z.string(),
        state: ComponentState,
        version: z.string(),
        time: Timestamp,
        nodes: z.object({
          total: z.number(),
          alive: z.number(),
          suspect: z.number(),
          lost: z.number(),
          disabled: z.number(),
        }),
        components: z.array(Component),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/status" },
      cli: {
        noun: "status",
        rows: "components",
        columns: [
          { heading: "COMPONENT", value: "component" },
          { heading: "STATE", value: "state" },
          { heading: "DETAIL", value: "detail" },
          { heading: "CHECKED", value: "checkedAt" },
        ],
        examples: [
          { command: "dvctl status", does: "Show whether the cluster is well." },
          { command: "dvctl status --component bus --format json", does: "Show the message bus only, for a program." },
        ],
      },
    }),
    listServices: operation({
      summary: "List every service instance on the bus with its statistics.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "gateway:service:list",
      input: z.strictObject({ ...listQuery }),
      output: page(ServiceInstance),
      errors: [],
      http: { method: "GET", path: "/v1/services" },
      cli: {
        noun: "services",
        verb: "list",
        rows: "items",
        columns: [
          { heading: "SERVICE", value: "service" },
          { heading: "PART", value: "part" },
          { heading: "NODE", value: "nodeName" },
          { heading: "VERSION", value: "version" },
          { heading: "UP", value: "startedAt", as: "age" },
          { heading: "REQUESTS", value: "requests" },
          { heading: "ERRORS", value: "errors" },
          { heading: "AVG MS", value: "averageMs", as: "fixed2" },
        ],
        examples: [
          { command: "dvctl services list", does: "Show what runs where." },
          { command: "dvctl services list --filter service=discovery", does: "Show one service on all nodes." },
        ],
      },
    }),
    listErrors: operation({
      summary: "List the error codes with kind, HTTP status, exit code and what to do.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 1_000,
      permission: "gateway:error:list",
      input: z.strictObject({ code: z.string().max(64).optional().describe("Only this code.") }),
      output: z.object({
        items: z.array(
          z.object({
            code: z.string(),
            kind: z.string(),
            http: z.number(),
            exitCode: z.number(),
            retryable: z.boolean(),
            summary: z.string(),
            remedy: z.string(),
          }),
        ),
      }),
      errors: ["NOT_FOUND"],
      http: { method: "GET", path: "/v1/errors" },
      cli: null,
    }),
    getCapabilities: operation({
      summary: "Show who the caller is and what it may do here.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 1_000,
      permission: "gateway:capability:get",
      input: z.strictObject({}),
      output: z.object({
        principal: z.string(),
        role: z.string(),
        permissions: z.array(z.string()),
        writes: z.boolean().describe("Whether this caller may change anything here."),
        secretContents: z.boolean().describe("Whether secrets can be read on this surface; never."),
        apiVersion: z.string(),
        contractVersions: z.record(z.string(), z.string()),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/capabilities" },
      cli: {
        noun: "capabilities",
        examples: [{ command: "dvctl capabilities", does: "Show what the current token may do." }],
      },
    }),
    createToken: operation({
      summary: "Make an API key; its secret is shown once.",
      scope: "core",
      effect: "change",
      idempotent: false,
      timeoutMs: 5_000,
      permission: "gateway:token:create",
      role: "admin",
      input: z.strictObject({
        name: z.string().min(1).max(100).describe("What the key is for."),
        role: z.enum(["viewer", "operator", "admin"]).default("viewer").describe("Role of the key."),
        scopes: z.array(PermissionPattern).max(50).default([]).describe("Permissions that narrow the role."),
        expiresInDays: z.coerce
          .number()
          .int()
          .min(1)
          .max(3650)
          .default(90)
          .describe("Days until it expires (1 to 3650)."),
      }),
      output: z.object({ token: Token, secret: z.string().describe("The key itself; it cannot be shown again.") }),
      errors: ["TOKEN_SCOPE_TOO_WIDE"],
      http: { method: "POST", path: "/v1/tokens" },
      cli: {
        noun: "tokens",
        verb: "create",
        args: ["name"],
        examples: [
          {
            command: "dvctl tokens create ci --role viewer --expires-in-days 30",
            does: "A read-only key for a month.",
          },
          {
            command: "dvctl tokens create dns --role operator --scopes discovery:*",
            does: "A key for one service only.",
          },
        ],
        changes: "Stores the hash of a new key in the cluster.",
        undo: "dvctl tokens revoke ID",
      },
    }),
    listTokens: operation({
      summary: "List the API keys without their secrets.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "gateway:token:list",
      role: "admin",
      input: z.strictObject({ ...listQuery }),
      output: page(Token),
      errors: [],
      http: { method: "GET", path: "/v1/tokens" },
      cli: {
        noun: "tokens",
        verb: "list",
        rows: "items",
        columns: [
          { heading: "ID", value: "id" },
          { heading: "NAME", value: "name" },
          { heading: "ROLE", value: "role" },
          { heading: "SCOPES", value: "scopes", as: "list" },
          { heading: "EXPIRES", value: "expiresAt" },
          { heading: "LAST USED", value: "lastUsedAt", as: "age" },
          { heading: "REVOKED", value: "revokedAt" },
        ],
        examples: [{ command: "dvctl tokens list", does: "Show every key." }],
      },
    }),
    revokeToken: operation({
      summary: "Revoke an API key at once, on every gateway.",
      scope: "core",
      effect: "destroy",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "gateway:token:revoke",
      input: z.strictObject({
        token: z
          .string()
          .regex(/^[a-z0-9]{1,32}$/)
          .describe("Id of the key."),
      }),
      output: Token,
      errors: ["TOKEN_NOT_FOUND"],
      http: { method: "DELETE", path: "/v1/tokens/{token}" },
      cli: {
        noun: "tokens",
        verb: "revoke",
        args: ["token"],
        examples: [{ command: "dvctl tokens revoke k3x9w2mq --confirm", does: "Refuse that key from now on." }],
        changes: "Marks the key as revoked; open event sockets of that key are closed.",
        undo: "A revoked key cannot be revived; make a new one with dvctl tokens create.",
        recovery: "Keep a second administrator key, so that revoking your own does not lock you out.",
      },
    }),
  },
  events: {
    "call.recorded": event({
      summary: "A request that changes something was answered: who, what, result.",
      version: 1,
      payload: z.object({
        principal: z.string(),
        source: z.string().describe("Address of the caller."),
        operation: z.string(),
        method: z.string(),
        path: z.string(),
        status: z.number().int(),
        code: z.string().nullable().describe("Error code, null on success."),
        ms: z.number().nonnegative(),
        replayed: z
          .boolean()
          .default(false)
          .describe("The stored answer of an earlier request with the same Idempotency-Key; nothing was done."),
      }),
    }),
    "auth.failed": event({
      summary: "A request carried no valid credential.",
      version: 1,
      payload: z.object({
        source: z.string(),
        path: z.string(),
        cause: z.enum(["missing", "malformed", "unknown", "expired", "revoked"]),
        count: z
          .number()
          .int()
          .positive()
          .default(1)
          .describe("Failures of this source and cause that the event stands for; a burst is summed up."),
      }),
    }),
    "call.denied": event({
      summary: "A known caller asked for something that its role does not include.",
      version: 1,
      payload: z.object({ principal: z.string(), source: z.string(), operation: z.string(), permission: z.string() }),
    }),
    "caller.limited": event({
      summary: "A caller went over its rate limit; published at most once a minute for each.",
      version: 1,
      payload: z.object({ principal: z.string(), rateClass: z.string(), limit: z.number() }),
    }),
    "token.created": event({ summary: "An API key was made.", version: 1, payload: Token }),
    "token.revoked": event({ summary: "An API key was revoked.", version: 1, payload: Token }),
  },
});
