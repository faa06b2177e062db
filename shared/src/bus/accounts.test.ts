// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { claimsOf, establishedAccount, isSignedAccount, safestAccount } from "./accounts.ts";
import { createTrustSeeds, serverTrust } from "./trust.ts";
import { newUserKey } from "./user-keys.ts";

const seeds = createTrustSeeds();
const [first, second] = [newUserKey().publicKey, newUserKey().publicKey];

/** What the JWT of an account looks like, issued at `iat`, with these revocations. Nobody has signed it. */
function issued(iat: number, revocations: Record<string, number>): string {
  const claims = { sub: "A", iss: "O", iat, nats: { revocations } };
  return `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;
}

test.for([
  { name: "the later of two that say the same", jwts: [issued(1, {}), issued(2, {})], best: 1 },
  { name: "an earlier one that a later one forgot", jwts: [issued(1, { [first]: 1 }), issued(2, {})], best: 0 },
  {
    name: "the one that names all of three",
    jwts: [issued(3, { [first]: 1 }), issued(1, { [first]: 1, [second]: 1 }), issued(2, { [second]: 1 })],
    best: 1,
  },
  {
    name: "the one that revokes what was issued later",
    jwts: [issued(1, { [first]: 9 }), issued(2, { [first]: 8 })],
    best: 0,
  },
  {
    name: "the latest where each lacks one of the other's",
    jwts: [issued(1, { [first]: 1 }), issued(2, { [second]: 1 })],
    best: 1,
  },
])("the safest JWT of an account is $name", ({ jwts, best }) => {
  const [one = "", ...others] = jwts;

  expect(safestAccount([one, ...others])).toBe(jwts[best]);
  const [last = "", ...before] = jwts.toReversed();
  expect(safestAccount([last, ...before])).toBe(jwts[best]);
});

test("the established JWT of an account is the first that says the same", () => {
  const mine = issued(5, { [first]: 1 });
  const established = issued(3, { [first]: 1 });
  const others = [issued(4, { [first]: 1 }), established, issued(1, {}), issued(2, { [first]: 2 })];

  expect(establishedAccount(mine, others)).toBe(established);
  expect(establishedAccount(mine, [issued(1, {})])).toBe(mine);
  expect(establishedAccount(mine, [])).toBe(mine);
});

test("revocations stand in the JWT of every account, under the operator's signature", async () => {
  const trust = await serverTrust(seeds, { users: [{ publicKey: first, at: 7 }] });
  const operator = claimsOf(trust.operatorJwt).sub;

  expect(Object.keys(trust.accounts)).toHaveLength(4);
  for (const jwt of Object.values(trust.accounts)) {
    expect(claimsOf(jwt).revocations).toEqual({ [first]: 7 });
    expect(isSignedAccount(jwt, operator)).toBe(true);
  }
});

test("a JWT that was changed, of another operator, or none at all, is not signed", async () => {
  const { operatorJwt, accounts } = await serverTrust(seeds);
  const operator = claimsOf(operatorJwt).sub;
  const [jwt = ""] = Object.values(accounts);
  const [header, , signature] = jwt.split(".");
  const body = Buffer.from(JSON.stringify({ ...claimsOf(jwt), nats: {} })).toString("base64url");

  expect(isSignedAccount(`${header}.${body}.${signature}`, operator)).toBe(false);
  expect(isSignedAccount(jwt, claimsOf((await serverTrust(createTrustSeeds())).operatorJwt).sub)).toBe(false);
  expect(isSignedAccount(operatorJwt, operator)).toBe(false);
  for (const none of ["", "x", "a.b.c", `${header}..${signature}`]) expect(isSignedAccount(none, operator)).toBe(false);
});

test("a key that is no user's cannot be revoked", async () => {
  for (const publicKey of ["", "UABC", seeds.core, claimsOf((await serverTrust(seeds)).operatorJwt).sub])
    await expect(serverTrust(seeds, { users: [{ publicKey, at: 1 }] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
});
