// SPDX-License-Identifier: Apache-2.0
/**
 * Verifies an exported audit trail (`trail-file.ts`) without a cluster, in one pass and bounded memory. Every line is hashed:
 * chains of the emitters, Merkle tree, signatures of checkpoints and witnesses, credentials up to the operator's key. The
 * signature of a record is checked where no good checkpoint vouches for it, where something contradicts, and everywhere on
 * request. What was found is told with its place.
 */
import type { SealedCheckpoint } from "@debvisor/proto-events/audit";
import { Findings } from "./findings.ts";
import { leafHash } from "./merkle.ts";
import { type ReadRecord, readRecord } from "./read-record.ts";
import { SignaturePool } from "./signature-pool.ts";
import { isSealLine, parseHeader, parseSeal, type TrailHeader } from "./trail-file.ts";
import { type Identity, type TrustChain, trustChain } from "./trust.ts";
import { Chains } from "./verify-chains.ts";
import type { TrailReport } from "./verify-report.ts";
import { SealedTree } from "./verify-tree.ts";

/** Options of `verifyTrail`. */
export interface VerifyOptions {
  /** The operator's public key (`O…`), known from elsewhere. Without it the export's own is believed. */
  readonly operator?: string | undefined;
  /** Check the signature of every record. */
  readonly signatures?: boolean | undefined;
  /** Fail when the latest checkpoint has fewer witnesses. */
  readonly minWitnesses?: number | undefined;
  /** Checkpoints kept outside of this export. */
  readonly checkpoints?: readonly SealedCheckpoint[] | undefined;
}

/** Records that wait for their checkpoint; older ones have their signature checked instead. */
const MAX_BUFFERED = 20_000;
const MAX_BUFFERED_CHARACTERS = 32 * 1024 * 1024;
/** Intents remembered until their outcome comes. */
const MAX_OPEN = 200_000;

/** Verifies the lines of an export, header first. Tampering is in the report; throws only what reading the lines throws. */
export async function verifyTrail(
  lines: AsyncIterable<string> | Iterable<string>,
  options: VerifyOptions = {},
): Promise<TrailReport> {
  let verifier: TrailVerifier | undefined;
  try {
    for await (const line of lines) {
      if (!verifier) {
        const start = begin(line, options);
        if (!(start instanceof TrailVerifier)) return start;
        verifier = start;
      } else {
        const wait = verifier.take(line);
        if (wait !== undefined) await wait;
      }
    }
    return verifier ? await verifier.finish() : refusal("the export is empty", options);
  } finally {
    await verifier?.stop();
  }
}

function begin(line: string, options: VerifyOptions): TrailVerifier | TrailReport {
  const header = parseHeader(line);
  if (!header) return refusal("the first line is no header of a debvisor-audit-trail, version 1", options);
  const operator = options.operator ?? header.operator;
  if (operator !== header.operator) {
    return refusal(`the export names the operator ${header.operator}, not ${operator}`, options, header);
  }
  if (header.from > 1 && !header.before) {
    return refusal(`the export begins with record ${header.from} and does not say what came before`, options, header);
  }
  try {
    return new TrailVerifier(header, trustChain({ operator, accounts: header.accounts }), options);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    return refusal(error.message, options, header);
  }
}

/** The report on a trail whose header does not even allow to begin. */
function refusal(detail: string, options: VerifyOptions, header?: TrailHeader): TrailReport {
  const findings = new Findings();
  findings.add("header", detail, { line: 1 });
  return {
    ok: false,
    cluster: header?.cluster ?? "",
    generation: header?.generation ?? 0,
    operator: options.operator ?? header?.operator ?? "",
    isPinned: options.operator !== undefined,
    from: header?.from ?? 1,
    records: 0,
    emitters: 0,
    checkpoints: 0,
    witnesses: [],
    sealedUpTo: 0,
    unsealed: 0,
    open: 0,
    unknown: 0,
    signatures: 0,
    findings: findings.list(),
    findingsInAll: findings.inAll,
  };
}

/** A record whose signature may have to be checked. */
interface Entry {
  readonly line: string;
  readonly identity: Identity;
  readonly seq: number;
  readonly lineNumber: number;
  readonly emitter: string;
}

class TrailVerifier {
  readonly #header: TrailHeader;
  readonly #options: VerifyOptions;
  readonly #findings = new Findings();
  readonly #chains: Chains;
  readonly #tree: SealedTree;
  readonly #pool: SignaturePool<Entry>;
  /** Records since the last good checkpoint. */
  #buffer: Entry[] = [];
  #bufferedCharacters = 0;
  readonly #open = new Map<string, number>();
  #lineNumber = 1;
  #records = 0;
  #lastRead: number;
  #unknown = 0;

  constructor(header: TrailHeader, trust: TrustChain, options: VerifyOptions) {
    this.#header = header;
    this.#options = options;
    this.#lastRead = header.from - 1;
    this.#chains = new Chains(trust, this.#findings);
    if (header.before) this.#chains.continueFrom(header.before.emitters);
    this.#tree = new SealedTree(header, trust, this.#findings, options.checkpoints);
    this.#pool = new SignaturePool(({ seq, lineNumber, emitter }) =>
      this.#chains.addDamage(seq, lineNumber, emitter, `this record is not what ${emitter} signed`),
    );
  }

  /** Takes the next line. A promise means: wait before the next one. */
  take(line: string): Promise<void> | undefined {
    this.#lineNumber++;
    if (isSealLine(line)) return this.#takeSeal(line);
    if (line === "") {
      this.#findings.add("inserted", "an empty line", { line: this.#lineNumber });
      return undefined;
    }
    return this.#takeRecord(line);
  }

  async finish(): Promise<TrailReport> {
    for (const entry of this.#buffer.splice(0)) await this.#pool.add(entry);
    await this.#pool.drain();
    this.#chains.finish();
    this.#tree.finish(this.#lastRead);
    const { to, cluster, generation, operator, from } = this.#header;
    const { seq, witnesses, sealedUpTo, checkpoints } = this.#tree;
    if (to !== undefined && seq < to) {
      this.#findings.add("truncated", `the export ends at record ${seq} of ${to}`, { seq: seq + 1, toSeq: to });
    }
    const { minWitnesses = 0 } = this.#options;
    if (witnesses.length < minWitnesses) {
      const detail = `the latest checkpoint has ${witnesses.length} witnesses, not ${minWitnesses}`;
      this.#findings.add("witnesses", detail);
    }
    return {
      ok: !this.#findings.hasFailures,
      cluster,
      generation,
      operator,
      isPinned: this.#options.operator !== undefined,
      from,
      records: this.#records,
      emitters: this.#chains.emitters,
      checkpoints,
      witnesses,
      sealedUpTo,
      unsealed: this.#records - (sealedUpTo - (from - 1)),
      open: this.#open.size,
      unknown: this.#unknown,
      signatures: this.#pool.checked,
      findings: this.#findings.list(),
      findingsInAll: this.#findings.inAll,
    };
  }

  async stop(): Promise<void> {
    await this.#pool.stop();
  }

  #takeRecord(line: string): Promise<void> | undefined {
    const leaf = leafHash(line);
    this.#tree.append(leaf);
    const { seq } = this.#tree;
    const lineNumber = this.#lineNumber;
    this.#records++;
    this.#lastRead = seq;
    const record = readRecord(line);
    if (!record) {
      this.#chains.addDamage(seq, lineNumber, null, "this line is no record");
      return undefined;
    }
    this.#pair(record, seq);
    const identity = this.#chains.take({ record, text: line, leaf, seq, line: lineNumber });
    if (!identity) return undefined;
    return this.#keep({ line, identity, seq, lineNumber, emitter: record.emitter });
  }

  /** Keeps a record until a checkpoint vouches for it, or has its signature checked. */
  #keep(entry: Entry): Promise<void> | undefined {
    if (this.#options.signatures || this.#tree.isBroken) return this.#flush(entry);
    this.#buffer.push(entry);
    this.#bufferedCharacters += entry.line.length;
    const isFull = this.#buffer.length > MAX_BUFFERED || this.#bufferedCharacters > MAX_BUFFERED_CHARACTERS;
    return isFull ? this.#flush() : undefined;
  }

  #takeSeal(line: string): Promise<void> | undefined {
    const sealed = parseSeal(line);
    if (!sealed) {
      this.#findings.add("checkpoint", "this checkpoint cannot be read", { line: this.#lineNumber });
      return undefined;
    }
    if (this.#tree.seal(sealed, this.#lineNumber)) {
      this.#buffer = [];
      this.#bufferedCharacters = 0;
      return undefined;
    }
    return this.#tree.isBroken ? this.#flush() : undefined;
  }

  /** Has the signatures checked of whatever waits, and of one more. */
  #flush(last?: Entry): Promise<void> | undefined {
    const entries = this.#buffer;
    this.#buffer = [];
    this.#bufferedCharacters = 0;
    if (last && entries.length === 0) return this.#pool.add(last);
    if (last) entries.push(last);
    return entries.length === 0 ? undefined : this.#addAll(entries);
  }

  async #addAll(entries: readonly Entry[]): Promise<void> {
    for (const entry of entries) {
      const wait = this.#pool.add(entry);
      if (wait !== undefined) await wait;
    }
  }

  #pair({ kind, ref, result }: ReadRecord, seq: number): void {
    if (kind === "intent" && this.#open.size < MAX_OPEN) this.#open.set(ref, seq);
    if (kind !== "outcome") return;
    this.#open.delete(ref);
    if (result?.status === "unknown") this.#unknown++;
  }
}
