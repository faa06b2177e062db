// SPDX-License-Identifier: Apache-2.0
/** A caller that has shown a valid key, with its permissions worked out once and its rates counted. */
import { EVENTS_PERMISSION, METRICS_PERMISSION } from "@debvisor/proto-events/gateway";
import { type Role, roleOf } from "@debvisor/proto-events/kit";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { type Grant, permissionsOf } from "../model/permissions.ts";
import type { TokenRecord } from "./token-record.ts";

/** Who calls. */
export interface Principal {
  /** Id of the key; actor of everything that the caller causes. */
  readonly id: string;
  readonly role: Role;
  readonly scopes: readonly string[];
  readonly permissions: ReadonlySet<string>;
  /** Milliseconds since 1970; infinite for a key without end. */
  readonly expiresAtMs: number;
}

/** Every permission there is with the least role that holds it. */
export function allGrants(operations: readonly RegisteredOperation[]): readonly Grant[] {
  return [
    ...operations.map(({ spec }) => ({ permission: spec.permission, role: roleOf(spec) })),
    { permission: EVENTS_PERMISSION, role: "viewer" },
    { permission: METRICS_PERMISSION, role: "viewer" },
  ];
}

/** The principal of a stored key. */
export function toPrincipal(record: TokenRecord, grants: readonly Grant[]): Principal {
  return {
    id: record.id,
    role: record.role,
    scopes: record.scopes,
    permissions: permissionsOf(record, grants),
    expiresAtMs: record.expiresAt === null ? Number.POSITIVE_INFINITY : Date.parse(record.expiresAt),
  };
}
