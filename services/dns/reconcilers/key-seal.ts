// SPDX-License-Identifier: Apache-2.0
/**
 * Secrets of TSIG keys as they lie in the bucket: AES-256-GCM under a key that every server of the cluster has and that is in no
 * stream, bound to the name of the TSIG key. Whoever reads the streams, or a backup of them, learns no secret.
 */
import { createCipheriv, createDecipheriv, hash, randomBytes } from "node:crypto";
import { DvError } from "@debvisor/shared/errors";
import { z } from "zod";

/** A sealed secret; all parts base64. */
export const Sealed = z.object({ iv: z.base64(), box: z.base64(), tag: z.base64() });
export type Sealed = z.output<typeof Sealed>;

/** Shortest secret in bytes. HMAC-SHA-256 wants 32 (RFC 8945 §6), old keys have 16. */
const LEAST_BYTES = 16;

/** Seals a secret (base64) for the TSIG key `name`. @throws DNS_KEY_INVALID for a weak one */
export function sealSecret(sealKey: string, name: string, secret: string): Sealed {
  requireStrong(secret);
  const bytes = Buffer.from(secret, "base64");
  const iv = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", Buffer.from(sealKey, "base64"), iv).setAAD(Buffer.from(name));
  const box = Buffer.concat([cipher.update(bytes), cipher.final()]);
  const text = (part: Buffer) => part.toString("base64");
  return { iv: text(iv), box: text(box), tag: text(cipher.getAuthTag()) };
}

/** @throws DNS_KEY_INVALID for a weak secret (base64) */
export function requireStrong(secret: string): void {
  const { length } = Buffer.from(secret, "base64");
  if (length < LEAST_BYTES)
    throw new DvError("DNS_KEY_INVALID", `The secret has ${length} bytes; at least ${LEAST_BYTES}.`);
}

/** Opens it again; undefined when it was sealed for another cluster or another name, or is damaged. */
export function openSealed(sealKey: string, name: string, { iv, box, tag }: Sealed): string | undefined {
  const bytes = (part: string) => Buffer.from(part, "base64");
  try {
    const cipher = createDecipheriv("aes-256-gcm", bytes(sealKey), bytes(iv), { authTagLength: 16 });
    cipher.setAAD(Buffer.from(name)).setAuthTag(bytes(tag));
    return Buffer.concat([cipher.update(bytes(box)), cipher.final()]).toString("base64");
  } catch {
    // The library says no more than that it does not fit.
    return undefined;
  }
}

/** First 16 hexadecimal digits of SHA-256 over a secret (base64). */
export function fingerprintOf(secret: string): string {
  return hash("sha256", Buffer.from(secret, "base64"), "hex").slice(0, 16);
}
