// SPDX-License-Identifier: Apache-2.0
/**
 * Which JWT of an account to believe when servers hold several. nats-server takes the one issued later, whatever it lacks; one
 * that was issued without knowing of a revocation would let the revoked user in again (RULES.md 8).
 */
import { isSigned, publicKeyOf } from "./keys.ts";

/** What the JWT of an operator, an account or a user says, as far as it matters here. */
export interface Claims {
  /** Public key of whom it is about. */
  readonly sub: string;
  /** Public key of who signed it. */
  readonly iss: string;
  /** Seconds since 1970. */
  readonly iat: number;
  /** Public key of a revoked user → seconds since 1970. */
  readonly revocations: Readonly<Record<string, number>>;
}

/** Reads a JWT without checking its signature. @throws TypeError or SyntaxError for what is none */
export function claimsOf(jwt: string): Claims {
  const [, body] = jwt.split(".");
  if (!body) throw new TypeError("not a JWT");
  const { sub, iss, iat, nats } = JSON.parse(Buffer.from(body, "base64url").toString()) as Record<string, unknown>;
  if (typeof sub !== "string" || typeof iss !== "string" || typeof iat !== "number")
    throw new TypeError("the JWT does not say whose it is");
  const { revocations = {} } = (nats ?? {}) as { revocations?: Record<string, number> };
  return { sub, iss, iat, revocations };
}

/** Whether the JWT is about an account and the operator signed it. False for what is no JWT at all. */
export function isSignedAccount(jwt: string, operator: string): boolean {
  try {
    const [header = "", body = "", signature = ""] = jwt.split(".");
    const { sub, iss } = claimsOf(jwt);
    const bytes = new TextEncoder().encode(`${header}.${body}`);
    return (
      sub.startsWith("A") &&
      iss === operator &&
      isSigned(publicKeyOf(operator), bytes, Buffer.from(signature, "base64url"))
    );
  } catch {
    return false;
  }
}

/** Of several JWTs of one account the latest of those that forget no revocation that another one names. */
export function safestAccount(jwts: readonly [string, ...string[]]): string {
  const newestFirst = [...new Set(jwts)]
    .map((jwt) => ({ jwt, claims: claimsOf(jwt) }))
    .sort((a, b) => b.claims.iat - a.claims.iat);
  const safe = newestFirst.find(({ claims }) => newestFirst.every((other) => covers(claims, other.claims)));
  // Two that each lack one of the other's cannot be united without the operator's key; the later one knows more.
  return (safe ?? newestFirst[0])?.jwt ?? jwts[0];
}

/**
 * Of several JWTs of one account that say the same as `jwt` but for when they were issued, the one issued first: that which servers
 * go by already. Were each server to bring its own, all would have to be given one of them, and an account that gets another JWT
 * leaves requests without an answer for a moment.
 */
export function establishedAccount(jwt: string, others: readonly string[]): string {
  const said = contentOf(jwt);
  const same = others.filter((other) => contentOf(other) === said);
  return [jwt, ...same].reduce((first, other) => (claimsOf(other).iat < claimsOf(first).iat ? other : first));
}

/** The claims without what differs each time they are signed. */
function contentOf(jwt: string): string {
  const [, body = ""] = jwt.split(".");
  const { iat, jti, ...content } = JSON.parse(Buffer.from(body, "base64url").toString()) as Record<string, unknown>;
  return JSON.stringify(content);
}

function covers(claims: Claims, other: Claims): boolean {
  return Object.entries(other.revocations).every(([user, at]) => (claims.revocations[user] ?? -1) >= at);
}
