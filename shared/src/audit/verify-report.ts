// SPDX-License-Identifier: Apache-2.0
/** What a verification of the audit trail says. Commands print it as it is with `--format json`. */

/** What was found. The first group is tampering, or damage that nobody can tell from it; the last is only said. */
export type FindingKind =
  /** A line is not what its author signed, or cannot be read. */
  | "altered"
  /** Records are missing: a chain has a gap, or fewer records than were sealed. */
  | "deleted"
  /** A record that nobody of this cluster signed, or more records than were sealed. */
  | "inserted"
  /** Records are genuine, but not in the order that was sealed. */
  | "reordered"
  /** The end is missing. */
  | "truncated"
  /** Two checkpoints, or two records of one number, contradict each other. */
  | "forked"
  /** A record is there a second time. */
  | "replayed"
  /** A checkpoint is smaller than one before it. */
  | "rolled-back"
  /** A checkpoint that no sealer of this cluster signed. */
  | "checkpoint"
  /** A cosignature that counts for nothing. */
  | "witness"
  /** An emitter without a credential of this cluster. */
  | "emitter"
  /** The header is wrong, or not the expected cluster's. */
  | "header"
  /** Fewer witnesses than asked for. */
  | "witnesses"
  /** An emitter began a new chain; it had lost its state. No failure. */
  | "restarted"
  /** A checkpoint is older than the one before it by its clock. No failure. */
  | "clock";

/** One thing that was found, and where. */
export interface Finding {
  readonly kind: FindingKind;
  /** False: said, but no reason to fail. */
  readonly isFailure: boolean;
  /** Place in the trail, from 1; null when it is about no record. */
  readonly seq: number | null;
  /** Last place, when it can only be told that it lies between two. */
  readonly toSeq: number | null;
  /** Line of the export, from 1. */
  readonly line: number | null;
  readonly emitter: string | null;
  readonly detail: string;
}

/** Result of a verification. */
export interface TrailReport {
  readonly ok: boolean;
  readonly cluster: string;
  readonly generation: number;
  /** Operator's key that everything was checked against, and whether the caller named it or the export did. */
  readonly operator: string;
  readonly isPinned: boolean;
  readonly from: number;
  readonly records: number;
  readonly emitters: number;
  readonly checkpoints: number;
  /** Nodes that cosigned the latest checkpoint. */
  readonly witnesses: readonly string[];
  /** Sequence up to which a signed checkpoint vouches for every record. */
  readonly sealedUpTo: number;
  readonly unsealed: number;
  /** Intents without outcome; still running, or waiting for the reaper. */
  readonly open: number;
  /** Outcomes that nobody can tell. */
  readonly unknown: number;
  /** Records whose signature was checked one by one. */
  readonly signatures: number;
  /** At most 1,000, by place. */
  readonly findings: readonly Finding[];
  readonly findingsInAll: number;
}
