// SPDX-License-Identifier: Apache-2.0
/** Who may do what. Roles come from the contracts; the scopes of a key narrow its role and never widen it. */
import type { Role } from "@debvisor/proto-events/kit";

/** A permission and the least role that holds it. */
export interface Grant {
  readonly permission: string;
  readonly role: Role;
}

/** What a key is allowed: everything of its role, narrowed by its scopes. */
export interface Rights {
  readonly role: Role;
  /** Permission patterns; none means the whole role. */
  readonly scopes: readonly string[];
}

const RANK: Readonly<Record<Role, number>> = { viewer: 1, operator: 2, admin: 3 };

/** Whether a role includes another: viewer ⊂ operator ⊂ admin. */
export function roleIncludes(role: Role, needed: Role): boolean {
  return RANK[role] >= RANK[needed];
}

/**
 * Whether a pattern covers a permission or another pattern. `*` as the last part stands for all that follows, elsewhere
 * for one part. A pattern without `*` covers itself only.
 */
export function patternCovers(pattern: string, permission: string): boolean {
  const wanted = pattern.split(":");
  const have = permission.split(":");
  for (const [i, part] of wanted.entries()) {
    const last = i === wanted.length - 1;
    if (part === "*" && last) return have.length > i;
    if (have[i] === undefined || (part !== "*" && part !== have[i])) return false;
  }
  return have.length === wanted.length;
}

/** The permissions that a key holds. Whatever is not in the set is denied. */
export function permissionsOf(rights: Rights, grants: readonly Grant[]): ReadonlySet<string> {
  const within = ({ permission, role }: Grant): boolean =>
    roleIncludes(rights.role, role) &&
    (rights.scopes.length === 0 || rights.scopes.some((scope) => patternCovers(scope, permission)));
  return new Set(grants.filter(within).map((grant) => grant.permission));
}

/**
 * Whether a key with rights `wanted` may be made by one with rights `own`: not wider today, nor once a later version adds
 * permissions. So a creator with scopes can only hand out scopes that its own cover.
 */
export function mayGrant(own: Rights, wanted: Rights): boolean {
  if (!roleIncludes(own.role, wanted.role)) return false;
  if (own.scopes.length === 0) return true;
  return (
    wanted.scopes.length > 0 && wanted.scopes.every((scope) => own.scopes.some((mine) => patternCovers(mine, scope)))
  );
}
