// SPDX-License-Identifier: Apache-2.0
/** Credential, permission and rate of a request, in one synchronous step before its body is read. Denies by default. */
import { DvError } from "@debvisor/shared/errors";
import type { Tracing } from "@debvisor/shared/telemetry";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { FailureReporter } from "./auth/failures.ts";
import type { AuthFailure, TokenStore } from "./auth/tokens.ts";
import type { Limiter } from "./limiter.ts";
import type { RouteTimings } from "./metrics.ts";
import type { Outbox } from "./outbox.ts";
import { rateLimited } from "./problem.ts";
import type { RoutePolicy } from "./server.ts";

export interface GuardDeps {
  readonly tokens: TokenStore;
  /** Failed sign-ins, as events and in the audit trail. */
  readonly failures: readonly FailureReporter[];
  readonly limiter: Limiter;
  readonly outbox: Outbox;
  readonly tracing: Tracing;
}

type Hook = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void;

const EXPLAINED = {
  missing: "Send a key: Authorization: Bearer dv_…",
  malformed: "The Authorization header holds no key of the form dv_<id>_<secret>.",
  unknown: "The key is not known.",
  expired: "The key has expired.",
  revoked: "The key was revoked.",
} as const satisfies Record<AuthFailure, string>;

/** Makes the check for the routes of one policy. */
export function createGuard(
  deps: GuardDeps,
  policy: Exclude<RoutePolicy, { public: true }>,
  timings: RouteTimings,
): Hook {
  const { tokens, limiter, tracing } = deps;
  return (request, reply, done) => {
    request.timings = timings;
    const principal = tokens.authenticate(request.headers.authorization);
    if (typeof principal === "string") return done(refuseCredential(deps, request, principal));
    const waitMs = limiter.take(principal.id, policy.rateClass);
    const header = request.headers["traceparent"];
    const span = tracing.startSpan(policy.operation, "server", typeof header === "string" ? header : undefined);
    request.call = { principal, span };
    reply.header("traceresponse", span.traceparent);
    if (waitMs > 0)
      return done(
        rateLimited(`More than the allowed number of requests of class ${policy.rateClass} in a minute.`, waitMs),
      );
    if (!principal.permissions.has(policy.permission)) return done(deny(deps, request, principal.id, policy));
    done();
  };
}

function refuseCredential(
  { tokens, limiter, failures }: GuardDeps,
  request: FastifyRequest,
  cause: AuthFailure,
): Error {
  // Before the keys are known, every key is unknown; that is our fault and not the caller's.
  if (!tokens.loaded)
    return new DvError("UNAVAILABLE", "The gateway has not loaded the keys yet; try again in a moment.");
  const source = request.ip;
  const [path = "/"] = request.url.split("?");
  for (const reporter of failures) reporter.report(source, path.slice(0, 200), cause);
  const waitMs = limiter.take(`address ${source}`, "failure");
  return waitMs > 0
    ? rateLimited("Too many requests without a valid key from this address.", waitMs)
    : new DvError("UNAUTHENTICATED", EXPLAINED[cause]);
}

function deny(
  { outbox }: GuardDeps,
  request: FastifyRequest,
  principal: string,
  { permission, operation }: { permission: string; operation: string },
): Error {
  outbox.publish(
    "call.denied",
    { principal, source: request.ip, operation, permission },
    { subject: principal, actor: principal, requestId: request.id },
  );
  return new DvError("PERMISSION_DENIED", `The key lacks the permission ${permission}.`, { details: { permission } });
}
