// SPDX-License-Identifier: Apache-2.0
/**
 * The chains of a trail's emitters, while it is read: numbers without gap, each record naming the one before it, every
 * process with a credential of this cluster. Where a chain contradicts itself, the signatures around tell which side lies.
 */
import type { Findings, Place } from "./findings.ts";
import { isGenuine } from "./genuine.ts";
import type { ReadRecord } from "./read-record.ts";
import type { EmitterState } from "./trail-file.ts";
import type { Identity, TrustChain } from "./trust.ts";

/** A record at its place. */
export interface PlacedRecord {
  readonly record: ReadRecord;
  readonly text: string;
  readonly leaf: string;
  /** Place in the trail. */
  readonly seq: number;
  /** Line of the export. */
  readonly line: number;
}

interface Head {
  readonly n: number;
  readonly leaf: string;
  readonly seq: number;
  /** Absent when it lies before the export's first record. */
  readonly placed?: PlacedRecord;
}

/** Numbers of an emitter that were jumped over, and between which places. */
interface Gap {
  readonly emitter: string;
  readonly missing: Set<number>;
  readonly afterSeq: number;
  readonly beforeSeq: number;
  readonly line: number;
  readonly fromN: number;
  readonly toN: number;
}

interface Emitter {
  head: Head | undefined;
  readonly identities: Map<string, Identity>;
  readonly gaps: Gap[];
}

/** Numbers remembered of one gap; a larger one is told by its ends. */
const MAX_GAP = 10_000;

/** Follows the chains. */
export class Chains {
  readonly #trust: TrustChain;
  readonly #findings: Findings;
  readonly #emitters = new Map<string, Emitter>();
  /** Places of lines that are not what their author signed. */
  readonly #damaged = new Set<number>();
  #startsAtOne = true;

  constructor(trust: TrustChain, findings: Findings) {
    this.#trust = trust;
    this.#findings = findings;
  }

  get emitters(): number {
    return this.#emitters.size;
  }

  /** Continues chains that began before the first record. */
  continueFrom(before: Readonly<Record<string, EmitterState>>): void {
    this.#startsAtOne = false;
    for (const [name, { n, leaf, credentials }] of Object.entries(before)) {
      const emitter = this.#emitter(name);
      emitter.head = { n, leaf, seq: 0 };
      for (const [boot, cred] of Object.entries(credentials)) this.#admit(emitter, name, boot, cred, {});
    }
  }

  /** Notes that a line is not what its author signed. */
  addDamage(seq: number, line: number, emitter: string | null, detail: string): void {
    if (this.#damaged.has(seq)) return;
    this.#damaged.add(seq);
    this.#findings.add("altered", detail, { seq, line, emitter });
  }

  /** Checks a record against its chain. Returns whose signature it must have; undefined when nobody's will do. */
  take(placed: PlacedRecord): Identity | undefined {
    const { record, seq, line } = placed;
    const { emitter: name, boot } = record;
    const isNewProcess = record.cred !== null && this.#start(placed, record.cred);
    const emitter = this.#emitters.get(name);
    const identity = emitter?.identities.get(boot);
    if (!emitter || !identity) {
      this.#damaged.add(seq);
      this.#findings.add("emitter", `${name} (boot ${boot}) has shown no credential`, { seq, line, emitter: name });
      return undefined;
    }
    this.#link(emitter, placed, identity, isNewProcess);
    return identity;
  }

  /** Says which numbers never came. Call it once, after the last record. */
  finish(): void {
    for (const { gaps } of this.#emitters.values()) {
      for (const gap of gaps) if (gap.missing.size > 0) this.#report(gap);
    }
  }

  #report({ emitter, missing, afterSeq, beforeSeq, line, fromN, toN }: Gap): void {
    // A line that was damaged beyond recognition is no missing record besides.
    let damaged = 0;
    for (const seq of this.#damaged) if (seq > afterSeq && seq < beforeSeq) damaged++;
    if (damaged >= toN - fromN + 1) return;
    const [first = fromN] = missing;
    const which = missing.size === 1 ? `record ${first}` : `${missing.size} records, ${fromN} to ${toN},`;
    const detail = `${which} of ${emitter} missing between ${afterSeq} and ${beforeSeq}`;
    this.#findings.add("deleted", detail, { seq: afterSeq + 1, toSeq: beforeSeq, line, emitter });
  }

  /** A record that carries a credential: admits its process if it is genuine. Returns whether that process is new. */
  #start(placed: PlacedRecord, cred: string): boolean {
    const { record, text, seq, line } = placed;
    const { emitter: name, boot } = record;
    const emitter = this.#emitters.get(name) ?? newEmitter();
    const isKnown = emitter.identities.has(boot);
    if (!isKnown && !this.#admit(emitter, name, boot, cred, { seq, line })) return false;
    const identity = emitter.identities.get(boot);
    if (identity && isGenuine(text, identity.key)) {
      this.#emitters.set(name, emitter);
      return !isKnown;
    }
    if (!isKnown) emitter.identities.delete(boot);
    this.addDamage(seq, line, name, `the start of ${name} is not what its credential signed`);
    return false;
  }

  #admit(emitter: Emitter, name: string, boot: string, cred: string, place: { seq?: number; line?: number }): boolean {
    try {
      const identity = this.#trust.identify(cred);
      if (identity.user !== name) throw new TypeError(`the credential is that of ${identity.user}`);
      emitter.identities.set(boot, identity);
      return true;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.#findings.add("emitter", `${name} (boot ${boot}): ${error.message}`, { ...place, emitter: name });
      return false;
    }
  }

  #link(emitter: Emitter, placed: PlacedRecord, identity: Identity, isNewProcess: boolean): void {
    const { record, leaf, seq } = placed;
    const { head } = emitter;
    const next = { n: record.n, leaf, seq, placed };
    if (!head) {
      if (this.#isFirst(emitter, placed, identity)) emitter.head = next;
    } else if (record.n === head.n + 1) {
      if (record.prev !== head.leaf) this.#contradiction(head, placed, identity, emitter);
      emitter.head = next;
    } else if (this.#check(placed, identity)) {
      if (record.n > head.n) this.#skip(emitter, head.n + 1, head.seq, placed);
      else if (!this.#replaces(emitter, head, placed, isNewProcess)) return;
      emitter.head = next;
    }
  }

  /** Whether a record may begin a chain here. */
  #isFirst(emitter: Emitter, placed: PlacedRecord, identity: Identity): boolean {
    const { n, prev } = placed.record;
    if (n === 1 && prev === null) return true;
    if (!this.#check(placed, identity)) return false;
    // Without knowing what came before the export, its first record of an emitter may have any number.
    if (this.#startsAtOne) this.#skip(emitter, 1, 0, placed);
    return true;
  }

  /** The record before and this one do not fit: whoever has a wrong signature was altered. */
  #contradiction(head: Head, placed: PlacedRecord, identity: Identity, emitter: Emitter): void {
    const { record, seq, line } = placed;
    const before = head.placed;
    const signer = before && emitter.identities.get(before.record.boot);
    const isBeforeGood = !before || (signer !== undefined && this.#check(before, signer));
    if (!this.#check(placed, identity) || !isBeforeGood) return;
    const detail = `record ${record.n} of ${record.emitter} names another predecessor than the one at ${head.seq}`;
    this.#findings.add("forked", detail, { seq, line, emitter: record.emitter });
  }

  #skip(emitter: Emitter, fromN: number, afterSeq: number, { record, seq, line }: PlacedRecord): void {
    const missing = new Set<number>();
    for (let n = fromN; n < record.n && missing.size < MAX_GAP; n++) missing.add(n);
    if (missing.size === 0) return;
    const { emitter: name } = record;
    emitter.gaps.push({ emitter: name, missing, afterSeq, beforeSeq: seq, line, fromN, toN: record.n - 1 });
  }

  /** A genuine record with a number that has been, or was jumped over. Returns whether the chain goes on from it. */
  #replaces(emitter: Emitter, head: Head, { record, leaf, seq, line }: PlacedRecord, isNewProcess: boolean): boolean {
    const { n, emitter: name } = record;
    const place = { seq, line, emitter: name };
    const gap = emitter.gaps.find(({ missing }) => missing.has(n));
    if (gap) {
      gap.missing.delete(n);
      this.#findings.add("reordered", `record ${n} of ${name} stands after its successor at ${gap.beforeSeq}`, place);
      return false;
    }
    if (n === 1 && record.prev === null && isNewProcess) {
      for (const open of emitter.gaps.splice(0)) this.#report(open);
      this.#findings.add("restarted", `${name} began a new chain after its record ${head.n}`, place);
      return true;
    }
    if (n === head.n && leaf !== head.leaf) return this.#isRival(emitter, head, place, n);
    this.#findings.add("replayed", `record ${n} of ${name} came before`, place);
    return false;
  }

  /** Two different records of one number: the one before was put in, or their author contradicts itself. */
  #isRival(emitter: Emitter, { placed, seq }: Head, place: Place, n: number): boolean {
    const signer = placed && emitter.identities.get(placed.record.boot);
    if (!placed || (signer && isGenuine(placed.text, signer.key))) {
      this.#findings.add("forked", `record ${n} of ${place.emitter} is another one than that at ${seq}`, place);
      return false;
    }
    if (this.#damaged.has(seq)) return true;
    this.#damaged.add(seq);
    const { line } = placed;
    const emitterName = placed.record.emitter;
    this.#findings.add("inserted", `a record ${n} that ${emitterName} never signed`, {
      seq,
      line,
      emitter: emitterName,
    });
    return true;
  }

  #check(placed: PlacedRecord, identity: Identity): boolean {
    const { record, text, seq, line } = placed;
    if (this.#damaged.has(seq)) return false;
    if (isGenuine(text, identity.key)) return true;
    this.addDamage(seq, line, record.emitter, `record ${record.n} is not what ${record.emitter} signed`);
    return false;
  }

  #emitter(name: string): Emitter {
    const known = this.#emitters.get(name);
    if (known) return known;
    const made = newEmitter();
    this.#emitters.set(name, made);
    return made;
  }
}

function newEmitter(): Emitter {
  return { head: undefined, identities: new Map(), gaps: [] };
}
