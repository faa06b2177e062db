// SPDX-License-Identifier: Apache-2.0
/**
 * Entity tags. Most are a hash of the answer. An operation's is its revision. A node's has two parts, `<what lasts>.<all>`:
 * If-None-Match wants every byte, but If-Match would never hold if each heartbeat changed the tag, so it compares the first part.
 */
import { createHash } from "node:crypto";
import { Operation } from "@debvisor/proto-events/durable";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";

/** Makes the tag, without its quotes, from an answer's JSON text. */
export type Tagger = (json: string) => string;

/** Fields that heartbeats change, by the operation that reads the object. */
const VOLATILE: Readonly<Record<string, readonly string[]>> = { "discovery.getNode": ["lastSeen", "metrics"] };
const PART_LENGTH = 22;

/** The tagger of an operation that is called by GET. */
export function taggerOf({ service, name, spec }: RegisteredOperation): Tagger {
  if (spec.output === Operation) return revisionTag;
  const volatile = VOLATILE[`${service}.${name}`];
  return volatile ? (json) => `${lastingTag(json, volatile)}.${hash(json).slice(0, PART_LENGTH)}` : hash;
}

/** What If-Match compares of a tag. */
export function lastingPart(tag: string): string {
  return tag.split(".", 1)[0] ?? tag;
}

/** The header's form. */
export function quoted(tag: string): string {
  return `"${tag}"`;
}

/** If-None-Match compares weakly (RFC 9110 §13.1.2), and proxies that compress make tags weak. */
export function namesEtag(header: string, etag: string): boolean {
  return header.split(",").some((part) => {
    const tag = part.trim();
    return tag === "*" || tag === etag || tag === `W/${etag}`;
  });
}

function revisionTag(json: string): string {
  const { revision } = parsed(json);
  return typeof revision === "number" ? String(revision) : hash(json);
}

function lastingTag(json: string, volatile: readonly string[]): string {
  const lasting = Object.entries(parsed(json)).filter(([name]) => !volatile.includes(name));
  return hash(JSON.stringify(lasting)).slice(0, PART_LENGTH);
}

/** A service's answer passes through as text; what is no JSON has no fields, and its hash is a tag as good as any. */
function parsed(json: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
