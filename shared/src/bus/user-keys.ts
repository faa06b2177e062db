// SPDX-License-Identifier: Apache-2.0
/** Keys of users of the bus: made on the machine that is to use them, signed elsewhere (`CredentialIssuer.forNodeKey`). */
import { fmtCreds } from "@nats-io/jwt";
import { createUser, type KeyPair } from "@nats-io/nkeys";
import { DvError } from "../errors.ts";
import { claimsOf } from "./accounts.ts";
import { credentialParts, keyPairOf, publicKeyOf } from "./keys.ts";
import type { Credential } from "./trust.ts";

/** Makes the key of a user: `SU…` and `U…`. Only the second is for others to see. */
export function newUserKey(): { readonly seed: string; readonly publicKey: string } {
  const pair = newUser();
  return { seed: new TextDecoder().decode(pair.getSeed()), publicKey: pair.getPublicKey() };
}

/** The content of a credentials file. @throws INVALID_ARGUMENT when the JWT is not that of the key */
export function credsOf(jwt: string, seed: string): string {
  const pair = keyPairOf(seed);
  if (subjectOf(jwt) !== pair.getPublicKey())
    throw new DvError("INVALID_ARGUMENT", "The JWT is not that of a user with this key.");
  return new TextDecoder().decode(fmtCreds(jwt, pair));
}

/** Public key of a credential's user, by which it is revoked. @throws TypeError when the credential is none */
export function userKeyOf(credential: Pick<Credential, "creds">): string {
  return credentialParts(credential.creds).pair.getPublicKey();
}

/** The key pair of a new user. */
export function newUser(): KeyPair {
  return keyPairOf(new TextDecoder().decode(createUser().getSeed()));
}

/**
 * A user's public key as it is. The library takes seeds and keys of every kind, and a damaged key would be found out only when it
 * is used. @throws INVALID_ARGUMENT, which does not repeat the text: it may be a seed
 */
export function checkedUserKey(publicKey: string): string {
  try {
    if (publicKey.startsWith("U") && publicKeyOf(publicKey)) return publicKey;
  } catch {
    // Said below.
  }
  throw new DvError("INVALID_ARGUMENT", "This is no public key of a user of the bus.");
}

function subjectOf(jwt: string): string | undefined {
  try {
    return claimsOf(jwt).sub;
  } catch {
    return undefined;
  }
}
