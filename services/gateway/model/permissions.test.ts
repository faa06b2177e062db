// SPDX-License-Identifier: Apache-2.0
/** Roles and scopes: deny by default, and nobody hands out more than it has. */
import type { Role } from "@debvisor/proto-events/kit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mayGrant, patternCovers, permissionsOf } from "./permissions.ts";

const words = ["vm", "dns", "node", "list", "set"];
const permission = fc
  .tuple(fc.constantFrom(...words), fc.constantFrom(...words), fc.constantFrom(...words))
  .map((parts) => parts.join(":"));
const pattern = fc.oneof(
  permission,
  fc.constant("*"),
  fc.constantFrom(...words).map((word) => `${word}:*`),
  fc
    .tuple(fc.constantFrom(...words), fc.constantFrom(...words, "*"), fc.constantFrom(...words, "*"))
    .map((parts) => parts.join(":")),
);
const role = fc.constantFrom<Role>("viewer", "operator", "admin");
const rights = fc.record({ role, scopes: fc.array(pattern, { maxLength: 4 }) });
const grants = fc.array(fc.record({ permission, role }), { maxLength: 20 });

describe("a pattern", () => {
  it.each([
    ["*", "vm:node:list", true],
    ["vm:*", "vm:node:list", true],
    ["vm:node:*", "vm:node:list", true],
    ["vm:*:list", "vm:node:list", true],
    ["vm:*:list", "vm:node:set", false],
    ["vm", "vm:node:list", false],
    ["vm:node", "vm:node:list", false],
    ["vm:*", "vms:node:list", false],
    ["vm:node:list", "vm:node:*", false],
    ["vm:*", "vm:*", true],
    ["vm:*", "*", false],
  ])("%s on %s: %s", (wide, narrow, expected) => {
    expect(patternCovers(wide, narrow)).toBe(expected);
  });

  it("that covers another covers all that the other covers", () => {
    fc.assert(
      fc.property(pattern, pattern, permission, (wide, narrow, wanted) => {
        if (patternCovers(wide, narrow) && patternCovers(narrow, wanted))
          expect(patternCovers(wide, wanted)).toBe(true);
      }),
    );
  });
});

describe("a key", () => {
  it("never holds more than its role, and scopes only take away", () => {
    fc.assert(
      fc.property(rights, grants, (own, all) => {
        const held = permissionsOf(own, all);
        const role = permissionsOf({ role: own.role, scopes: [] }, all);
        for (const permission of held) expect(role.has(permission)).toBe(true);
      }),
    );
  });

  it("that may be made is never wider than its maker's, for any set of permissions", () => {
    fc.assert(
      fc.property(rights, rights, grants, (maker, made, all) => {
        if (!mayGrant(maker, made)) return;
        const allowed = permissionsOf(maker, all);
        for (const permission of permissionsOf(made, all)) expect(allowed.has(permission)).toBe(true);
      }),
    );
  });
});
