// SPDX-License-Identifier: Apache-2.0
/** What every command of a contract's operation takes over from it: its request over HTTP, and the privilege in words. */
import { type OperationSpec, roleOf } from "@debvisor/proto-events/kit";

/** Permission and role in words. */
export function privilegeOf(spec: Pick<OperationSpec, "effect" | "role" | "permission">): string {
  return `A token with the permission ${spec.permission}; the role ${roleOf(spec)} includes it. No right on this machine beyond reading the context file.`;
}

/** A request without its limits. */
export interface HttpInput {
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: Readonly<Record<string, unknown>>;
}

/** Spreads the input over path, query and body. Reads and DELETE have no body: proxies drop theirs. */
export function toHttp(spec: OperationSpec, given: Readonly<Record<string, unknown>>): HttpInput {
  const { method, path: template } = spec.http ?? { method: "GET", path: "/" };
  const rest = { ...given };
  const path = template.replaceAll(/\{(\w+)\}/g, (_, key: string) => {
    const value = rest[key];
    delete rest[key];
    return encodeURIComponent(String(value));
  });
  if (method === "GET" || method === "DELETE") return { method, path, query: rest };
  const { nodes, ...body } = rest;
  return spec.scope === "node" ? { method, path, query: { nodes }, body } : { method, path, body: rest };
}
