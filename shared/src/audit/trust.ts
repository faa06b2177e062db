// SPDX-License-Identifier: Apache-2.0
/**
 * The chain of trust of whatever users of the bus have signed (operator-mode JWT, ADR-14): the operator signs accounts, an
 * account names its signing keys, those sign the users' JWTs. Needs no secret, no clock and no cluster. Expiry is not
 * looked at: what was signed while a credential was valid stays signed.
 */
import type { KeyObject } from "node:crypto";
import { z } from "zod";
import { isSigned, publicKeyOf } from "../bus/keys.ts";

/** Where trust begins: the operator's public key (`O…`), and the JWTs of the accounts that it signed. */
export interface Anchor {
  readonly operator: string;
  readonly accounts: readonly string[];
}

/** Who a credential belongs to. `account` is the name that the operator gave it: `CORE` or `NODES`. */
export interface Identity {
  readonly user: string;
  readonly account: string;
  /** nkey, `U…`. */
  readonly publicKey: string;
  readonly key: KeyObject;
}

/** Tells the owners of credentials. */
export interface TrustChain {
  readonly operator: string;
  /** Who the credential (user JWT) belongs to. @throws TypeError, saying which link of the chain does not hold */
  identify(jwt: string): Identity;
}

const MAX_JWT = 64 * 1024;
/** Credentials remembered; a trail names few more than the cluster had processes. */
const MAX_REMEMBERED = 10_000;

const Header = z.object({ typ: z.literal("JWT"), alg: z.literal("ed25519-nkey") });
const SigningKey = z.union([z.string(), z.object({ key: z.string() }).transform(({ key }) => key)]);
const AccountClaims = z.object({
  iss: z.string(),
  sub: z.string().startsWith("A"),
  name: z.string(),
  nats: z.object({ type: z.literal("account"), signing_keys: z.array(SigningKey).default([]) }),
});
const UserClaims = z.object({
  iss: z.string(),
  sub: z.string().startsWith("U"),
  name: z.string(),
  nats: z.object({ type: z.literal("user"), issuer_account: z.string().optional() }),
});

/** Builds the chain. @throws TypeError when an account was not signed by the operator */
export function trustChain({ operator, accounts }: Anchor): TrustChain {
  if (!operator.startsWith("O")) throw new TypeError("the key of an operator begins with O");
  publicKeyOf(operator);
  const named = new Map<string, { readonly name: string; readonly keys: ReadonlySet<string> }>();
  for (const jwt of accounts) {
    const claims = signedClaims(jwt, AccountClaims, "an account's JWT");
    if (claims.iss !== operator) throw new TypeError(`the account ${claims.name} was signed by somebody else`);
    named.set(claims.sub, { name: claims.name, keys: new Set([claims.sub, ...claims.nats.signing_keys]) });
  }
  const remembered = new Map<string, Identity>();
  return {
    operator,
    identify: (jwt) => {
      const known = remembered.get(jwt);
      if (known) return known;
      const { iss, sub, name, nats } = signedClaims(jwt, UserClaims, "a credential");
      const account = named.get(nats.issuer_account ?? iss);
      if (!account?.keys.has(iss))
        throw new TypeError(`the credential of ${name} was signed by nobody of this cluster`);
      const identity = { user: name, account: account.name, publicKey: sub, key: publicKeyOf(sub) };
      if (remembered.size < MAX_REMEMBERED) remembered.set(jwt, identity);
      return identity;
    },
  };
}

/** Claims of a JWT whose signature is that of its issuer. */
function signedClaims<T>(jwt: string, schema: z.ZodType<T & { iss: string }>, what: string): T & { iss: string } {
  const [header, body, signature, ...rest] = jwt.length > MAX_JWT ? [] : jwt.split(".");
  if (header === undefined || body === undefined || signature === undefined || rest.length > 0) {
    throw new TypeError(`${what} is no JWT`);
  }
  const head = Header.safeParse(decoded(header));
  const claims = schema.safeParse(decoded(body));
  if (!head.success || !claims.success) throw new TypeError(`${what} has not the claims of one`);
  const bytes = Buffer.from(`${header}.${body}`);
  if (!isSigned(publicKeyOf(claims.data.iss), bytes, Buffer.from(signature, "base64url"))) {
    throw new TypeError(`${what} has a wrong signature`);
  }
  return claims.data;
}

function decoded(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
}
