// SPDX-License-Identifier: Apache-2.0
/**
 * The operations of dns on TSIG keys; the contract is in dns.ts. A secret comes in with the body of a request, is kept sealed and never shown
 * again. Keys of servers that run on members are made and replaced by the cluster (docs/adr/0026-rotating-tsig-keys.md).
 */
import { z } from "zod";
import { DnsServerName, KeyPurpose, SIGNED_MESSAGE_ERRORS, TsigAlgorithm, TsigKey, TsigKeyName } from "./dns-data.ts";
import { durable } from "./durable.ts";
import { event, operation } from "./kit.ts";
import { Actor, Duration, OperationId } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

/** Longest time in seconds for which old and new keys are in force together. */
export const LONGEST_OVERLAP_S = 3_600;

const Secret = z.base64().min(1).max(200).describe("Secret of the key, base64; 16 bytes or more. Recorded nowhere.");

/** One look at a key: is it stored, can its secret be used, does a server take what it signs. */
export const KeyCheck = z.object({
  check: z.enum(["stored", "secret", "signature"]),
  server: z.string().nullable().describe("Server that was asked."),
  zone: z.string().nullable(),
  status: z.enum(["ok", "failed", "skipped"]),
  code: z.string().nullable().describe("Error code, such as DNS_TSIG_BADTIME."),
  skewSeconds: z.number().nullable().describe("How far the server's clock is ahead, where that is what is wrong."),
  detail: z.string(),
});
export type KeyCheck = z.output<typeof KeyCheck>;

/** `result` of a rotation. */
export const RotationResult = z.object({
  keys: z.array(z.object({ purpose: KeyPurpose, before: TsigKeyName.nullable(), after: TsigKeyName })),
  servers: z.array(z.string()).describe("Servers that have the new keys, and refuse the old ones."),
});
export type RotationResult = z.output<typeof RotationResult>;

/** What can be asked of keys, by name. */
export const keyOperations = {
  listKeys: operation({
    summary: "List the stored TSIG keys by fingerprint; secrets are never shown.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 5_000,
    permission: "dns:key:list",
    input: z.strictObject({ ...listQuery }),
    output: page(TsigKey),
    errors: [],
    http: { method: "GET", path: "/v1/dns/keys" },
    cli: {
      noun: "dns",
      verb: "keys list",
      rows: "items",
      columns: [
        { heading: "NAME", value: "name" },
        { heading: "ALGORITHM", value: "algorithm" },
        { heading: "FINGERPRINT", value: "fingerprint" },
        { heading: "PURPOSE", value: "purpose" },
        { heading: "USED BY", value: "usedBy", as: "list" },
        { heading: "STORED", value: "storedAt", as: "age" },
      ],
      examples: [{ command: "dvctl dns keys list", does: "Show every key and which servers use it." }],
    },
  }),
  setKey: operation({
    summary: "Store a TSIG key, sealed; one of that name with another secret is kept and the request refused.",
    scope: "core",
    effect: "change",
    idempotent: true,
    timeoutMs: 8_000,
    permission: "dns:key:set",
    role: "admin",
    input: z.strictObject({
      key: TsigKeyName,
      algorithm: TsigAlgorithm.default("hmac-sha256"),
      secret: Secret,
    }),
    output: TsigKey,
    errors: ["DNS_KEY_INVALID"],
    http: { method: "PUT", path: "/v1/dns/keys/{key}" },
    cli: null,
  }),
  deleteKey: operation({
    summary: "Forget a TSIG key that no server uses.",
    scope: "core",
    effect: "destroy",
    idempotent: true,
    timeoutMs: 8_000,
    permission: "dns:key:delete",
    input: z.strictObject({ key: TsigKeyName }),
    output: TsigKey,
    errors: ["DNS_KEY_NOT_FOUND"],
    http: { method: "DELETE", path: "/v1/dns/keys/{key}" },
    cli: {
      noun: "dns",
      verb: "keys remove",
      args: ["key"],
      examples: [{ command: "dvctl dns keys remove dv-2025 --confirm", does: "Forget a key that was replaced." }],
      preconditions: "No configured server uses the key, and it is none that the cluster made.",
      changes: "Removes the sealed secret from the cluster. The DNS servers keep theirs.",
      undo: "dvctl dns keys import FILE",
    },
  }),
  checkKey: operation({
    summary:
      "Check a TSIG key: is it stored, can its secret be used, does every server that has it take what it signs.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 20_000,
    permission: "dns:key:check",
    role: "operator",
    input: z.strictObject({
      key: TsigKeyName,
      algorithm: TsigAlgorithm.optional().describe("Of a key that is given with its secret."),
      secret: Secret.optional().describe(
        "Secret to sign with instead of the stored one; used for this and kept nowhere.",
      ),
    }),
    output: z.object({
      key: TsigKeyName,
      algorithm: z.string(),
      fingerprint: z.string(),
      verdict: z.enum(["ok", "failed"]),
      checks: z.array(KeyCheck),
    }),
    errors: ["DNS_KEY_NOT_FOUND", "DNS_KEY_INVALID", "TOOL_MISSING", "TOOL_FAILED"],
    http: { method: "POST", path: "/v1/dns/keys/{key}/check" },
    cli: null,
  }),
  rotateKeys: durable({
    summary: "Replace the keys of the DNS servers that run on members: new beside old, clients switched, old removed.",
    effect: "change",
    permission: "dns:key:rotate",
    role: "admin",
    input: {
      purpose: z
        .union([z.array(KeyPurpose).min(1).max(3), KeyPurpose.transform((one) => [one])])
        .optional()
        .describe("Only keys for this; may be given more than once. Default: all of them."),
      overlap: Duration.default("60s").describe("How long old and new keys are in force together; at most 1h."),
    },
    errors: [...SIGNED_MESSAGE_ERRORS, "DNS_NOT_AUTHORITATIVE", "DNS_NOT_PROPAGATED"],
    http: { method: "POST", path: "/v1/dns/keys/rotation" },
    durable: { version: 1, targets: null, asks: true },
    cli: {
      noun: "dns",
      verb: "keys rotate",
      args: [],
      examples: [
        { command: "dvctl dns keys rotate --dry-run", does: "Show which keys and servers it would be about." },
        {
          command: "dvctl dns keys rotate --confirm",
          does: "Replace the keys for changes, virtual machines and transfers.",
        },
        {
          command: "dvctl dns keys rotate --purpose transfer --overlap 10m --confirm",
          does: "Replace the key for transfers; both are in force for ten minutes.",
        },
      ],
      preconditions:
        "Each DNS server that was added with --node answers, and so does its node. Its named.conf includes the file of keys.",
      changes:
        "Makes new keys, writes them beside the old ones on these servers, signs with the new ones, removes the old ones after the overlap. Servers that were added without --node keep their keys.",
      undo: "dvctl operations cancel ID, until the old keys are removed; after that, rotate again.",
      recovery: "If it broke off while the old keys were removed, rotate again: it does what is left.",
    },
  }),
};

/** What is told of keys. Never a secret. */
export const keyEvents = {
  "key.created": event({
    summary: "A TSIG key was stored.",
    version: 1,
    payload: z.object({ key: TsigKeyName, algorithm: z.string(), fingerprint: z.string() }),
  }),
  "key.failed": event({
    summary: "A check found a TSIG key that cannot be used, or that a server does not take.",
    version: 1,
    payload: z.object({
      key: TsigKeyName,
      fingerprint: z.string(),
      checks: z.array(KeyCheck).describe("What failed."),
    }),
  }),
  "key.rotated": event({
    summary: "A TSIG key was replaced; servers refuse the old one.",
    version: 1,
    payload: z.object({
      operation: OperationId,
      purpose: KeyPurpose,
      before: TsigKeyName.nullable().describe("Null: there was none."),
      after: TsigKeyName,
      servers: z.array(DnsServerName),
      actor: Actor,
    }),
  }),
};
