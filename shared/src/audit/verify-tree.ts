// SPDX-License-Identifier: Apache-2.0
/**
 * The tree of a trail while it is read, against the checkpoints that stand in it or are kept elsewhere. A checkpoint whose
 * root is right vouches for every record up to its size; from the first contradiction on the tree vouches for nothing.
 */
import type { Checkpoint, SealedCheckpoint } from "@debvisor/proto-events/audit";
import { faultOfCheckpoint, faultOfCosignature, witnessesOf } from "./checkpoint.ts";
import type { Findings } from "./findings.ts";
import { Frontier } from "./merkle.ts";
import type { TrailHeader } from "./trail-file.ts";
import type { TrustChain } from "./trust.ts";

/** Something between two places does not fit; what exactly is told at the end, when everything is known. */
interface Contradiction {
  readonly fromSeq: number;
  readonly checkpoint: Checkpoint;
  /** Place of the last record that had been read. */
  readonly seq: number;
  readonly line: number | null;
}

/** Follows the tree. */
export class SealedTree {
  /** Records that a good checkpoint vouches for, by sequence. */
  sealedUpTo: number;
  /** Good checkpoints. */
  checkpoints = 0;
  witnesses: readonly string[] = [];
  /** The tree does not fit a checkpoint, so it says nothing about later ones. */
  isBroken = false;
  /** Place of the last record; follows the checkpoints where they say that records are missing or too many. */
  seq: number;
  readonly #frontier: Frontier;
  readonly #header: TrailHeader;
  readonly #trust: TrustChain;
  readonly #findings: Findings;
  readonly #elsewhere: Checkpoint[];
  readonly #contradictions: Contradiction[] = [];
  #last: Checkpoint | undefined;

  /** `elsewhere`: checkpoints that somebody kept outside of this export. @throws RangeError when `before` is no tree */
  constructor(header: TrailHeader, trust: TrustChain, findings: Findings, elsewhere: readonly SealedCheckpoint[] = []) {
    this.#header = header;
    this.#trust = trust;
    this.#findings = findings;
    this.seq = header.from - 1;
    this.sealedUpTo = this.seq;
    this.#frontier = new Frontier(this.seq, header.before?.peaks ?? []);
    const good = elsewhere.filter((sealed) => this.#isGood(sealed, null));
    this.#elsewhere = good.map(({ checkpoint }) => checkpoint).sort((a, b) => b.size - a.size);
    while ((this.#elsewhere.at(-1)?.size ?? this.seq) < this.seq) this.#elsewhere.pop();
  }

  /** Adds the next record. */
  append(leaf: string): void {
    this.seq++;
    if (this.isBroken) return;
    this.#frontier.append(leaf);
    for (let next = this.#elsewhere.at(-1); next?.size === this.seq && !this.isBroken; next = this.#elsewhere.at(-1)) {
      this.#elsewhere.pop();
      if (next.root !== this.#frontier.root()) this.#contradict(next, null);
    }
  }

  /** Compares with a checkpoint of the export, after the records before it. Returns whether it vouches for them. */
  seal(sealed: SealedCheckpoint, line: number): boolean {
    if (!this.#isGood(sealed, line) || !this.#isLater(sealed.checkpoint, line)) return false;
    const { checkpoint } = sealed;
    if (this.isBroken) {
      this.seq = Math.max(checkpoint.size, this.#header.from - 1);
      return false;
    }
    if (checkpoint.size !== this.seq || checkpoint.root !== this.#frontier.root()) {
      this.#contradict(checkpoint, line);
      this.seq = checkpoint.size;
      return false;
    }
    this.checkpoints++;
    this.sealedUpTo = this.seq;
    this.witnesses = witnessesOf(sealed, this.#trust);
    return true;
  }

  /** Says what the contradictions come from, after everything else was found. `lastRead`: place of the last record. */
  finish(lastRead: number): void {
    for (const contradiction of this.#contradictions) this.#explain(contradiction, lastRead);
    const [largest] = this.#elsewhere;
    if (!largest || largest.size <= this.seq || this.isBroken) return;
    const detail = `a checkpoint kept elsewhere vouches for ${largest.size} records, here are ${this.seq}`;
    this.#findings.add("truncated", detail, { seq: this.seq + 1, toSeq: largest.size });
  }

  #contradict(checkpoint: Checkpoint, line: number | null): void {
    this.isBroken = true;
    this.#contradictions.push({ fromSeq: this.sealedUpTo + 1, checkpoint, seq: this.seq, line });
  }

  #explain({ fromSeq, checkpoint, seq, line }: Contradiction, lastRead: number): void {
    const { size } = checkpoint;
    if (this.#findings.hasFailureIn(fromSeq, Math.max(seq, size))) return;
    const place = { seq: fromSeq, toSeq: size, line };
    const between = `between ${fromSeq} and ${size}`;
    if (line === null) {
      this.#findings.add("forked", `a checkpoint kept elsewhere vouches for other records ${between}`, place);
    } else if (seq < size && lastRead === seq) {
      const missing = `records ${seq + 1} to ${size} were sealed and are missing at the end`;
      this.#findings.add("truncated", missing, { seq: seq + 1, toSeq: size, line });
    } else if (seq < size) {
      this.#findings.add("deleted", `${size - seq} of the records ${between} are missing`, place);
    } else if (seq > size) {
      this.#findings.add("inserted", `${seq - size} records ${between} were not sealed`, place);
    } else {
      const detail = `the records ${between} are genuine, but not those that were sealed, or not in that order`;
      this.#findings.add("reordered", detail, place);
    }
  }

  #isGood({ checkpoint, witnesses }: SealedCheckpoint, line: number | null): boolean {
    const { cluster, generation, size } = checkpoint;
    const place = { seq: size, line };
    const fault =
      cluster !== this.#header.cluster || generation !== this.#header.generation
        ? `it belongs to generation ${generation} of ${cluster}`
        : faultOfCheckpoint(checkpoint, this.#trust);
    if (fault !== undefined) {
      this.#findings.add("checkpoint", `the checkpoint of ${size} records does not count: ${fault}`, place);
      return false;
    }
    for (const cosignature of witnesses) {
      const why = faultOfCosignature(checkpoint, cosignature, this.#trust);
      if (why === undefined) continue;
      const detail = `a cosignature of ${size} records does not count: ${why}`;
      this.#findings.add("witness", detail, { ...place, emitter: cosignature.witness });
    }
    return true;
  }

  /** Checkpoints only grow. Two of one size must say the same. */
  #isLater(checkpoint: Checkpoint, line: number): boolean {
    const last = this.#last;
    const { size, root, time, sealer } = checkpoint;
    const place = { seq: size, line, emitter: sealer };
    if (last && size < last.size) {
      this.#findings.add("rolled-back", `a checkpoint of ${size} records follows one of ${last.size}`, place);
      return false;
    }
    if (last && size === last.size && root !== last.root) {
      this.#findings.add("forked", `two checkpoints of ${size} records have different roots`, place);
      return false;
    }
    if (last && Date.parse(time) < Date.parse(last.time)) {
      this.#findings.add("clock", `the checkpoint of ${size} records is older than the one of ${last.size}`, place);
    }
    this.#last = checkpoint;
    return true;
  }
}
