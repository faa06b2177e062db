// SPDX-License-Identifier: Apache-2.0
/**
 * The tag by which members of one cluster recognise each other in an mDNS record while outsiders learn no cluster name
 * (RULES.md part 5). A tag can be copied from the LAN, so it sorts what is displayed and decides nothing (RULES.md 1).
 *
 * HMAC is put together from one-shot hashes because `createHmac` makes a native object per call that lives until a full
 * collection: under 10,000 rogue records that was 13 MB of the 25 MB by which a busy process grew.
 */
import { hash, timingSafeEqual } from "node:crypto";

/** Bytes of the salt that a node draws at each boot. */
export const SALT_BYTES = 8;

const BLOCK_BYTES = 64;

/** First 8 bytes of HMAC-SHA256(`advertiseKey`, salt) as 16 hexadecimal digits. `salt` is 16 hexadecimal digits. */
export function makeTag(advertiseKey: Uint8Array, salt: string): string {
  const inner = hash("sha256", Buffer.concat([padded(advertiseKey, 0x36), Buffer.from(salt, "hex")]), "buffer");
  return hash("sha256", Buffer.concat([padded(advertiseKey, 0x5c), inner]), "hex").slice(0, 16);
}

/** The key, filled up to a block and masked (RFC 2104 §2). */
function padded(key: Uint8Array, pad: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES, pad);
  const short = key.length > BLOCK_BYTES ? hash("sha256", key, "buffer") : key;
  for (const [at, byte] of short.entries()) block[at] = byte ^ pad;
  return block;
}

/** True when `tag` was made of `salt` with this key. Constant time; false for anything malformed. */
export function verifyTag(advertiseKey: Uint8Array, salt: string, tag: string): boolean {
  if (!/^[0-9a-f]{16}$/.test(salt) || !/^[0-9a-f]{16}$/.test(tag)) return false;
  return timingSafeEqual(Buffer.from(makeTag(advertiseKey, salt)), Buffer.from(tag));
}
