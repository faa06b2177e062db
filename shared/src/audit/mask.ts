// SPDX-License-Identifier: Apache-2.0
/**
 * What of an operation's arguments may be recorded. Whatever is secret by its name, or looks like a key, is replaced; what
 * is content is replaced by its digest, so that the trail proves what was written without holding it.
 */
import { hash } from "node:crypto";
import { maskSecrets } from "../log.ts";

/** A value in place of a content. */
interface Digest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

const MASKED = "[masked]";
const MAX_DEPTH = 8;
const MAX_ITEMS = 200;
const MAX_TEXT = 2_000;

/** Names by their letters alone, so that `private_key`, `privateKey` and `PRIVATE-KEY` are the same. */
const SECRET_NAME =
  /(?:password|passwd|passphrase|secret|token|credential|authorization|cookie|^seed$|^jwt$|^pin$|^psk$|^creds?$|privatekey|apikey|accesskey|keymaterial|tsigkey|sshkey|^key$|keyring)/;
/** These name a secret without being one. */
const HARMLESS_NAME = /(?:id|name|type|expires|expiry|count|algorithm|fingerprint|length|bytes)$/;
const CONTENT_NAME = /^(?:content|contents|data|body|payload)$/;
/** TSIG keys and the like: 16 bytes or more in padded base64, and nothing else. */
const BASE64_KEY = /^(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9+/])[A-Za-z0-9+/]{22,}={1,2}$/;
const PEM = /-----BEGIN [A-Z0-9 ]+-----[\s\S]*?-----END [A-Z0-9 ]+-----/g;

/** Arguments as they are recorded. Never throws for what came out of JSON. */
export function maskArgs(args: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return maskFields(args, 0);
}

/** A text as it is recorded: keys inside of it are masked, the length is bounded. */
export function maskText(text: string, limit = MAX_TEXT): string {
  const wellFormed = text.toWellFormed();
  const masked = BASE64_KEY.test(wellFormed) ? MASKED : maskSecrets(wellFormed.replace(PEM, MASKED));
  return masked.length <= limit ? masked : `${masked.slice(0, limit).toWellFormed()}… (${masked.length} characters)`;
}

/** SHA-256 and size of a content: the bytes of a text, or of the JSON of anything else. */
export function digestOf(value: unknown): Digest {
  const bytes = Buffer.from(typeof value === "string" ? value : (JSON.stringify(value) ?? ""));
  return { sha256: hash("sha256", bytes, "hex"), sizeBytes: bytes.length };
}

function maskFields(fields: Readonly<Record<string, unknown>>, depth: number): Record<string, unknown> {
  const entries = Object.entries(fields);
  const kept = entries.slice(0, MAX_ITEMS).map(([name, value]) => [maskText(name, 200), maskField(name, value, depth)]);
  if (entries.length > MAX_ITEMS) kept.push(["…", `${entries.length - MAX_ITEMS} more fields`]);
  return Object.fromEntries(kept);
}

function maskField(name: string, value: unknown, depth: number): unknown {
  const letters = name.replace(/[^A-Za-z]/g, "").toLowerCase();
  const isValue = value !== null && value !== undefined && typeof value !== "boolean";
  if (isValue && SECRET_NAME.test(letters) && !HARMLESS_NAME.test(letters)) return MASKED;
  if (isValue && CONTENT_NAME.test(letters)) return digestOf(value);
  return maskValue(value, depth + 1);
}

function maskValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return maskText(value);
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (value === null || value === undefined || typeof value === "boolean") return value ?? null;
  return typeof value === "object" ? maskObject(value, depth) : null;
}

function maskObject(value: object, depth: number): unknown {
  if (value instanceof Uint8Array) return { sha256: hash("sha256", value, "hex"), sizeBytes: value.length };
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (depth > MAX_DEPTH) return "[deeper than is recorded]";
  if (!Array.isArray(value)) return maskFields(value as Record<string, unknown>, depth);
  const items = value.slice(0, MAX_ITEMS).map((item) => maskValue(item, depth + 1));
  return value.length > MAX_ITEMS ? [...items, `… ${value.length - MAX_ITEMS} more`] : items;
}
