// SPDX-License-Identifier: Apache-2.0
/** Puts path, query and body together into an operation's input and checks it once, against the contract's schema. */

import { NodeSelection } from "@debvisor/proto-events/primitives";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { DvError } from "@debvisor/shared/errors";
import { invalidInput } from "./problem.ts";

/** The parts of a request that carry input. */
export interface InputParts {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  /** Fields that came as headers. */
  readonly headers?: Readonly<Record<string, unknown>>;
}

/** Checked input, and the selection of nodes where the operation is a fan-out. */
export interface CheckedInput {
  readonly input: unknown;
  readonly nodes: string | undefined;
}

/** Makes the reader of an operation's input. The reader throws INVALID_ARGUMENT. */
export function inputReader({ spec }: RegisteredOperation): (parts: InputParts) => CheckedInput {
  const { input: schema, scope } = spec;
  const fanOut = scope === "node";
  const withoutFields = Object.keys(schema.shape).length === 0;
  const nothing = withoutFields ? schema.parse({}) : undefined;
  // The first parse compiles the schema; the first caller should not have to wait for it.
  schema.safeParse({});
  return (parts) => {
    const fields = merge(parts);
    const nodes = fanOut ? takeNodes(fields) : undefined;
    if (nothing !== undefined && Object.keys(fields).length === 0) return { input: nothing, nodes };
    const parsed = schema.safeParse(fields);
    if (!parsed.success) throw invalidInput(parsed.error.issues);
    return { input: parsed.data, nodes };
  };
}

/** One record of all fields. The same field in two places is refused: which of them counts is not for us to guess. */
function merge({ params, query, body, headers = {} }: InputParts): Record<string, unknown> {
  const fields: Record<string, unknown> = { ...(query as Record<string, unknown>) };
  if (body !== undefined && body !== null) {
    if (typeof body !== "object" || Array.isArray(body))
      throw new DvError("INVALID_ARGUMENT", "The body must be a JSON object.");
    add(fields, body as Record<string, unknown>, "body");
  }
  add(fields, params as Record<string, unknown>, "path");
  add(fields, headers, "header If-Match");
  return fields;
}

function add(fields: Record<string, unknown>, more: Readonly<Record<string, unknown>>, where: string): void {
  for (const key in more) {
    if (!Object.hasOwn(more, key)) continue;
    if (Object.hasOwn(fields, key)) {
      throw new DvError("INVALID_ARGUMENT", `${key}: given in the ${where} and elsewhere as well`, {
        details: { issues: [{ path: key, message: "given twice" }] },
      });
    }
    fields[key] = more[key];
  }
}

function takeNodes(fields: Record<string, unknown>): string {
  const given = fields["nodes"];
  delete fields["nodes"];
  if (given === undefined) {
    throw new DvError(
      "INVALID_ARGUMENT",
      "nodes: say which nodes are asked: ids or names, a filter such as role=server, or all",
      {
        details: { issues: [{ path: "nodes", message: "required" }] },
      },
    );
  }
  const text = Array.isArray(given) ? given.join(",") : given;
  const parsed = NodeSelection.safeParse(text);
  if (!parsed.success) throw invalidInput(parsed.error.issues.map(({ message }) => ({ path: ["nodes"], message })));
  return parsed.data;
}
