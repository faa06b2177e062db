// SPDX-License-Identifier: Apache-2.0
/**
 * The audit trail: who did what, when, to what and with what result, in a form that cannot be altered unnoticed. Records
 * are signed and chained by whoever wrote them; a Merkle tree (RFC 6962 §2.1) over all of them is signed by a sealer and
 * cosigned by other nodes. `shared/audit` builds and verifies all of it.
 */
import { z } from "zod";
import { Mode } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { Actor, NodeId, OperationId, Sha256, Timestamp } from "./primitives.ts";

/** Largest record in bytes; larger arguments are replaced by their digest. */
export const MAX_RECORD_BYTES = 48 * 1024;

/** Ed25519 signature, base64url. */
export const Signature = z
  .string()
  .regex(/^[A-Za-z0-9_-]{86}$/)
  .describe("Ed25519 signature, base64url.");

/**
 * Kind of a record. `intent` before the first effect, `outcome` after the last, both with the same `ref`. `refusal`: asked
 * for and not begun. `read`: the trail itself was read. `start`: an emitter began a chain, with its credential.
 */
export const RecordKind = z.enum(["start", "intent", "outcome", "refusal", "read", "alarm"]);
export type RecordKind = z.output<typeof RecordKind>;

/** Result of an outcome or refusal. `unknown`: whoever began it died, and nobody can tell. */
export const RecordResult = z.object({
  status: z.enum(["ok", "unchanged", "failed", "undone", "stuck", "refused", "planned", "unknown"]),
  code: z.string().nullable().describe("Error code, null on success."),
  exitCode: z.number().int().min(0).max(255),
  message: z.string().nullable(),
});
export type RecordResult = z.output<typeof RecordResult>;

/** What somebody who records something says of it; the emitter adds the rest. Secrets are masked before. */
export const RecordBody = z.object({
  kind: RecordKind,
  ref: z.string().describe("What an intent and its outcome have in common: the operation id, or the request id."),
  actor: Actor,
  user: z.string().nullable(),
  source: z.string().nullable().describe("Address of the caller."),
  action: z.string().describe("<service>.<operation>."),
  mode: Mode.nullable(),
  targets: z.array(z.string()),
  args: z.record(z.string(), z.unknown()).describe("Arguments, secrets and contents replaced by their digest."),
  reason: z.string().nullable(),
  override: z.string().nullable(),
  planDigest: Sha256.nullable(),
  operation: OperationId.nullable(),
  requestId: z.string().nullable(),
  traceId: z.string().nullable(),
  result: RecordResult.nullable(),
});
export type RecordBody = z.output<typeof RecordBody>;

/** A record as it is stored: one line of canonical JSON (RFC 8785), whose bytes are what is hashed. */
export const AuditRecord = RecordBody.extend({
  v: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  emitter: z.string().describe("User of the bus that wrote it: a node id, or <service>-<node id>."),
  n: z.number().int().positive().describe("Number in the emitter's chain, from 1."),
  prev: Sha256.nullable().describe("Leaf hash of the emitter's record before; null for the first."),
  time: Timestamp,
  boot: z.string().describe("Boot id of the emitter's process."),
  mono: z.number().int().nonnegative().describe("Milliseconds since that process started, by the monotonic clock."),
  cred: z.string().nullable().describe("The emitter's credential (JWT, public part); in every record of kind start."),
  sig: Signature.describe("Over the canonical JSON of the record without this field."),
});
export type AuditRecord = z.output<typeof AuditRecord>;

/** A record with its place in the trail. */
export const ListedRecord = AuditRecord.omit({ cred: true, sig: true, prev: true }).extend({
  seq: z.number().int().positive().describe("Place in the trail."),
});
export type ListedRecord = z.output<typeof ListedRecord>;

/** Head of the tree after `size` records of a generation of the trail. `previous` is the root at its last size. */
export const Checkpoint = z.object({
  v: z.literal(1),
  cluster: z.string(),
  generation: z.number().int().positive(),
  size: z.number().int().nonnegative(),
  root: Sha256,
  time: Timestamp,
  sealer: z.string().describe("User of the bus that signed it."),
  cred: z.string().describe("The sealer's credential (JWT, public part)."),
  sig: Signature,
});
export type Checkpoint = z.output<typeof Checkpoint>;

/** Another node's signature under a checkpoint, after it checked that it is consistent with the last one it signed. */
export const Cosignature = z.object({ witness: NodeId, cred: z.string(), time: Timestamp, sig: Signature });
export type Cosignature = z.output<typeof Cosignature>;

/** A checkpoint with its witnesses, as it is stored and exported. */
export const SealedCheckpoint = z.object({ checkpoint: Checkpoint, witnesses: z.array(Cosignature) });
export type SealedCheckpoint = z.output<typeof SealedCheckpoint>;

const Hashes = z.array(Sha256).max(64);

export const auditContract = contract({
  service: "audit",
  summary: "The audit trail: append, query, follow, export, prove.",
  uses: {
    streamsRead: ["DV_AUDIT", "DV_SEALS", "DV_OPS"],
    streamsWrite: ["DV_SEALS"],
    bucketsRead: ["dv_leases", "dv_nodes"],
    bucketsWrite: ["dv_leases"],
    commands: ["audit"],
  },
  operations: {
    listRecords: operation({
      summary: "List records of the audit trail, newest first. Reading is recorded as well.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 35_000,
      permission: "audit:record:list",
      role: "operator",
      input: z.strictObject({
        actor: z.string().max(200).optional().describe("Only by this actor, or this user."),
        node: z.string().max(200).optional().describe("Only about this target (id or name)."),
        action: z.string().max(200).optional().describe("Only this action, with wildcards: node-agent.*"),
        result: z
          .string()
          .max(40)
          .optional()
          .describe("Only with this result: ok, failed, refused, unknown and so on."),
        kind: RecordKind.optional().describe("Only this kind of record."),
        ref: z.string().max(100).optional().describe("Only of this operation or request id."),
        since: z
          .string()
          .max(64)
          .optional()
          .describe("Only after this RFC 3339 time, or within this duration (10m, 1d)."),
        until: z.string().max(64).optional().describe("Only before this RFC 3339 time."),
        limit: z.coerce.number().int().min(1).max(1000).default(200).describe("Most records (1 to 1000)."),
        before: z.coerce.number().int().positive().optional().describe("Only before this sequence, for the next page."),
        after: z.coerce.number().int().min(0).optional().describe("Only after this sequence, oldest first."),
        seconds: z.coerce
          .number()
          .min(0)
          .max(30)
          .default(0)
          .describe("With after: wait up to this many seconds for a record (0 to 30)."),
      }),
      output: z.object({
        items: z.array(ListedRecord),
        lastSeq: z.number().int().nonnegative(),
        nextBefore: z.number().int().positive().nullable(),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/audit" },
      cli: {
        noun: "audit",
        verb: "list",
        rows: "items",
        columns: [
          { heading: "SEQ", value: "seq" },
          { heading: "TIME", value: "time" },
          { heading: "KIND", value: "kind" },
          { heading: "ACTOR", value: "actor" },
          { heading: "USER", value: "user" },
          { heading: "ACTION", value: "action" },
          { heading: "TARGETS", value: "targets", as: "list" },
          { heading: "RESULT", value: "result.status" },
          { heading: "CODE", value: "result.code" },
          { heading: "REF", value: "ref" },
        ],
        examples: [
          { command: "dvctl audit list", does: "Show the latest records." },
          { command: "dvctl audit list --actor operator --since 1d", does: "Show what one actor did since yesterday." },
          { command: "dvctl audit list --result refused", does: "Show what was refused." },
        ],
      },
    }),
    readTrail: operation({
      summary:
        "Read the trail as it is stored: exact lines, checkpoints and the chain of trust, for verification elsewhere.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 20_000,
      permission: "audit:trail:read",
      role: "operator",
      input: z.strictObject({
        from: z.coerce.number().int().positive().default(1).describe("First sequence."),
        limit: z.coerce.number().int().min(1).max(2000).default(500).describe("Most records of an answer (1 to 2000)."),
      }),
      output: z.object({
        header: z.string().describe("First line of an export: format, cluster, chain of trust."),
        records: z.array(z.string()).describe("Lines, in the order of the trail; each is a record's exact bytes."),
        next: z.number().int().positive().nullable().describe("Send as from for the next part; null at the end."),
        checkpoints: z.array(z.string()).describe("Lines of the checkpoints whose size lies in this part."),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/audit/trail" },
      cli: null,
    }),
    getSeal: operation({
      summary: "Show the latest checkpoint of the trail, its witnesses, and what has not been sealed yet.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "audit:seal:get",
      input: z.strictObject({}),
      output: z.object({
        sealed: SealedCheckpoint.nullable(),
        witnesses: z.number().int().nonnegative(),
        records: z.number().int().nonnegative(),
        unsealed: z.number().int().nonnegative(),
        openIntents: z
          .number()
          .int()
          .nonnegative()
          .describe("Intents without outcome, younger than the reaper's limit."),
        alarms: z.array(z.string()),
        notes: z
          .array(z.string())
          .describe("What else is worth knowing: missing witnesses, a host without journal, unrecorded readings."),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/audit/seal" },
      cli: {
        noun: "audit",
        verb: "status",
        examples: [{ command: "dvctl audit status", does: "Show how far the trail is sealed, and by whom." }],
      },
    }),
    proveRecord: operation({
      summary: "Prove that a record is in the trail: its line, its place and the hashes up to a signed checkpoint.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 10_000,
      permission: "audit:record:prove",
      role: "operator",
      input: z.strictObject({ seq: z.coerce.number().int().positive().describe("Place of the record in the trail.") }),
      output: z.object({
        seq: z.number().int().positive(),
        record: z.string(),
        sealed: SealedCheckpoint,
        path: Hashes.describe("Audit path of RFC 6962 §2.1.1, from the leaf to the root."),
      }),
      errors: ["AUDIT_RECORD_NOT_FOUND"],
      http: { method: "GET", path: "/v1/audit/records/{seq}/proof" },
      cli: {
        noun: "audit",
        verb: "prove",
        args: ["seq"],
        examples: [{ command: "dvctl audit prove 12 --format json", does: "Print the proof for record 12." }],
      },
    }),
    cosignCheckpoint: operation({
      summary: "Cosign a checkpoint after checking it against the last one that this node cosigned.",
      scope: "node",
      effect: "change",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "audit:checkpoint:cosign",
      role: "admin",
      input: z.strictObject({
        checkpoint: Checkpoint.describe("The checkpoint."),
        since: z
          .object({
            size: z.number().int().describe("Size."),
            path: Hashes.describe("Consistency proof of RFC 6962 §2.1.2."),
          })
          .strict()
          .nullable()
          .describe("Size that the witness cosigned last, and the proof from there; null for the first time."),
      }),
      output: z.object({ cosignature: Cosignature.nullable(), lastSize: z.number().int().nonnegative() }),
      errors: ["WITNESS_REFUSED", "COMMAND_REFUSED", "COMMAND_FENCED"],
      http: null,
      cli: null,
    }),
  },
  events: {
    "checkpoint.sealed": event({
      summary: "A checkpoint of the audit trail was signed.",
      version: 1,
      payload: z.object({
        generation: z.number().int(),
        size: z.number().int(),
        root: Sha256,
        witnesses: z.number().int(),
      }),
    }),
    "chain.broken": event({
      summary: "The audit trail contradicts itself, or a witness: tampering, or a store that was rolled back.",
      version: 1,
      payload: z.object({ cause: z.string(), seq: z.number().int().nullable(), detail: z.string() }),
    }),
    "trail.filled": event({
      summary: "The stream of the audit trail is nearly full; when it is, every change is refused.",
      version: 1,
      payload: z.object({
        percent: z.number().int(),
        bytes: z.number().int(),
        maxBytes: z.number().int(),
        records: z.number().int(),
      }),
    }),
    "intent.orphaned": event({
      summary: "Whoever recorded an intent is gone; its result is unknown.",
      version: 1,
      payload: z.object({ ref: z.string(), action: z.string(), actor: Actor, emitter: z.string() }),
    }),
  },
});
