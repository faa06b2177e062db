// SPDX-License-Identifier: Apache-2.0
/** API keys as they are written (`dv_<id>_<secret>`) and stored (hash only). A key has 256 random bits, so no salt is needed. */
import { createHash, randomBytes, randomInt } from "node:crypto";
import { Token } from "@debvisor/proto-events/gateway";
import { z } from "zod";

/** An entry of bucket dv_tokens. */
export const TokenRecord = Token.extend({ hash: z.string().regex(/^[0-9a-f]{64}$/) });
export type TokenRecord = z.output<typeof TokenRecord>;

const KEY = /^dv_([a-z0-9]{1,32})_([A-Za-z0-9_-]{43})$/;
const ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789";
const ID_LENGTH = 8;

/** Takes a key apart; undefined when it is none. */
export function parseKey(key: string): { readonly id: string; readonly secret: string } | undefined {
  const [, id, secret] = KEY.exec(key) ?? [];
  return id !== undefined && secret !== undefined ? { id, secret } : undefined;
}

/** SHA-256 of the secret part, hexadecimal. */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** Makes a key: public id, the whole key to hand out once, and the hash to store. */
export function newKey(): { readonly id: string; readonly key: string; readonly hash: string } {
  const id = Array.from({ length: ID_LENGTH }, () => ID_LETTERS[randomInt(ID_LETTERS.length)]).join("");
  const secret = randomBytes(32).toString("base64url");
  return { id, key: `dv_${id}_${secret}`, hash: hashSecret(secret) };
}

/** A record without its hash, as callers see it. */
export function publicToken({ hash: _hash, ...token }: TokenRecord): Token {
  return token;
}
