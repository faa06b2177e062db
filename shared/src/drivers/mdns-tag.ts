// SPDX-License-Identifier: Apache-2.0
/**
 * The tag by which members of one cluster recognise each other in an mDNS record while outsiders learn no cluster name
 * (RULES.md part 5). A tag can be copied from the LAN, so it sorts what is displayed and decides nothing (RULES.md 1).
 */
import { createHmac, timingSafeEqual } from "node:crypto";

/** Bytes of the salt that a node draws at each boot. */
export const SALT_BYTES = 8;

/** First 8 bytes of HMAC-SHA256(`advertiseKey`, salt) as 16 hexadecimal digits. `salt` is 16 hexadecimal digits. */
export function makeTag(advertiseKey: Uint8Array, salt: string): string {
  return createHmac("sha256", advertiseKey).update(Buffer.from(salt, "hex")).digest("hex").slice(0, 16);
}

/** True when `tag` was made of `salt` with this key. Constant time; false for anything malformed. */
export function verifyTag(advertiseKey: Uint8Array, salt: string, tag: string): boolean {
  if (!/^[0-9a-f]{16}$/.test(salt) || !/^[0-9a-f]{16}$/.test(tag)) return false;
  return timingSafeEqual(Buffer.from(makeTag(advertiseKey, salt)), Buffer.from(tag));
}
