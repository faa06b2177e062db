// SPDX-License-Identifier: Apache-2.0
/**
 * What If-Match means on a route that changes something (RFC 9110 §13.1.1). Durable operations take the digest of a plan, the
 * controls of an operation its revision: both go to the service as a field and are judged there. For the others the gateway
 * compares with the object as it is. A route that can do none of it refuses the header instead of ignoring it.
 */
import { Sha256 } from "@debvisor/proto-events/primitives";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { DvError } from "@debvisor/shared/errors";
import { lastingPart, taggerOf } from "./etag.ts";
import { holds, type IfMatch, parseIfMatch } from "./model/if-match.ts";
import { conditionFailed } from "./problem.ts";

/** How a route honours If-Match. */
export type ConditionKind =
  | { readonly kind: "plan" }
  | { readonly kind: "revision" }
  /** The operation that reads the object which the route changes. */
  | { readonly kind: "object"; readonly reader: RegisteredOperation }
  | { readonly kind: "none" };

/** A condition as a request states it. */
export interface Condition {
  /** Fields of the input that it stands for. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Compared with the object by the gateway. */
  readonly object: { readonly reader: RegisteredOperation; readonly wanted: IfMatch } | undefined;
  /** Turns the service's refusal into 412 where it is this condition that failed. */
  readonly judge: (error: DvError) => DvError;
}

const REVISION = /^[1-9][0-9]{0,14}$/;
const NONE: Condition = { fields: {}, object: undefined, judge: (error) => error };

/** How an operation honours If-Match, from the contracts alone. */
export function conditionKindOf(
  { spec }: RegisteredOperation,
  operations: readonly RegisteredOperation[],
): ConditionKind {
  if (spec.durable) return { kind: "plan" };
  if (spec.effect === "read" || spec.http === null) return { kind: "none" };
  if (Object.hasOwn(spec.input.shape, "revision")) return { kind: "revision" };
  const own = spec.http.path;
  const above = own.slice(0, own.lastIndexOf("/"));
  const reader = operations.find(
    ({ spec: { http, scope } }) =>
      http?.method === "GET" &&
      scope === "core" &&
      http.path.endsWith("}") &&
      (http.path === own || http.path === above),
  );
  return reader ? { kind: "object", reader } : { kind: "none" };
}

/** Reads the header. @throws INVALID_ARGUMENT; PLAN_STALE or CONFLICT (412) for a tag that can match nothing */
export function readCondition(how: ConditionKind, header: string | undefined): Condition {
  if (header === undefined) return NONE;
  const wanted = parseIfMatch(header);
  if (!wanted) throw invalid('* or entity tags in double quotes, such as "4711"');
  switch (how.kind) {
    case "none":
      throw invalid("this route has no object that it could be compared with");
    case "object":
      return { ...NONE, object: { reader: how.reader, wanted } };
    case "plan":
      return planCondition(wanted);
    case "revision":
      return revisionCondition(wanted);
  }
}

/** Compares the condition with the object. `read` answers with its JSON text. @throws CONFLICT (412), and what `read` throws */
export async function requireMatch(
  object: NonNullable<Condition["object"]>,
  read: (reader: RegisteredOperation) => Promise<string>,
): Promise<void> {
  const { reader, wanted } = object;
  const current = lastingPart(taggerOf(reader)(await read(reader)));
  const lasting = wanted.kind === "any" ? wanted : { ...wanted, strong: wanted.strong.map(lastingPart) };
  if (!holds(lasting, current))
    throw conditionFailed(new DvError("CONFLICT", "If-Match: the object is not as it was when its ETag was read."));
}

function planCondition(wanted: IfMatch): Condition {
  if (wanted.kind === "any") throw invalid("give the digest of a plan, as mode=plan answers it in ETag");
  const plan = only(wanted.strong);
  const stale = (message: string) => conditionFailed(new DvError("PLAN_STALE", message));
  if (plan === undefined || !Sha256.safeParse(plan).success)
    throw stale("If-Match holds no strong tag that is the digest of a plan.");
  return {
    ...NONE,
    fields: { plan },
    judge: (error) => (error.code === "PLAN_STALE" ? conditionFailed(error) : error),
  };
}

function revisionCondition(wanted: IfMatch): Condition {
  // Without such an operation the answer is 404 as it would be without the condition (§13.2.1); with one, * holds.
  if (wanted.kind === "any") return NONE;
  const revision = only(wanted.strong);
  if (revision === undefined || !REVISION.test(revision))
    throw conditionFailed(
      new DvError("CONFLICT", "If-Match holds no strong tag that is the revision of an operation."),
    );
  return {
    ...NONE,
    fields: { revision: Number(revision) },
    judge: (error) => (error.code === "CONFLICT" ? conditionFailed(error) : error),
  };
}

/** The service takes one value. @throws INVALID_ARGUMENT for several */
function only(tags: readonly string[]): string | undefined {
  if (tags.length > 1) throw invalid("one entity tag is enough here");
  return tags[0];
}

function invalid(why: string): DvError {
  return new DvError("INVALID_ARGUMENT", `If-Match: ${why}`, {
    details: { issues: [{ path: "If-Match", message: why }] },
  });
}
