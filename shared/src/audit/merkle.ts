// SPDX-License-Identifier: Apache-2.0
/**
 * The Merkle tree of RFC 6962 §2.1 with its two proofs. Every hash is SHA-256 in lower-case hexadecimal. The tree keeps the
 * hashes of all complete subtrees (64 bytes for each leaf), so that a root or proof of any size costs O(log n) hashes; a
 * `Frontier` keeps only those that the next append needs, for whoever reads a trail of any length once.
 */
import { hash } from "node:crypto";

const WIDTH = 32;
/** Root of the tree without leaves. */
export const EMPTY_ROOT = hash("sha256", "");

/** Leaf hash of a record's bytes: SHA-256(0x00 || bytes). A string stands for its UTF-8 bytes. */
export function leafHash(line: string | Uint8Array): string {
  return typeof line === "string"
    ? hash("sha256", `\0${line}`)
    : hash("sha256", Buffer.concat([Buffer.of(0), line]), "hex");
}

/** What a witness needs to see that a tree only grew: its root at two sizes and the proof between them. */
export interface ConsistencyClaim {
  readonly first: number;
  readonly second: number;
  readonly firstRoot: string;
  readonly secondRoot: string;
  readonly path: readonly string[];
}

/** That a leaf stands at a place (from 0) of the tree with this size and root. */
export interface InclusionClaim {
  readonly index: number;
  readonly size: number;
  readonly leaf: string;
  readonly root: string;
  readonly path: readonly string[];
}

/** A growing tree that can prove what it says. */
export class MerkleTree {
  /** Hashes of the complete subtrees with 2^level leaves, one after the other. */
  readonly #levels: GrowingHashes[] = [new GrowingHashes()];

  /** Number of leaves. */
  get size(): number {
    return this.#level(0).count;
  }

  /** Adds a leaf by its leaf hash. @throws RangeError when it is no SHA-256 */
  append(leaf: string): void {
    let node = bytesOf(leaf);
    for (let level = 0; ; level++) {
      const hashes = this.#level(level);
      hashes.push(node);
      if (hashes.count % 2 === 1) return;
      node = join(hashes.at(hashes.count - 2), node);
    }
  }

  /** Leaf hash at a place, from 0. @throws RangeError */
  leaf(index: number): string {
    if (index < 0 || index >= this.size) throw new RangeError(`there is no leaf ${index}`);
    return hexOf(this.#level(0).at(index));
  }

  /** Root of the first `size` leaves. @throws RangeError */
  root(size = this.size): string {
    this.#check(size);
    return size === 0 ? EMPTY_ROOT : hexOf(this.#hash(0, size));
  }

  /** Hashes of the complete subtrees of the first `size` leaves, largest first; a `Frontier` goes on from them. @throws RangeError */
  peaks(size = this.size): string[] {
    this.#check(size);
    const peaks: string[] = [];
    for (let start = 0; start < size; ) {
      const rest = size - start;
      const count = splitOf(rest + 1);
      peaks.push(hexOf(this.#hash(start, count)));
      start += count;
    }
    return peaks;
  }

  /** Audit path of RFC 6962 §2.1.1 for the leaf at `index` in the tree of `size`. @throws RangeError */
  inclusionProof(index: number, size = this.size): string[] {
    this.#check(size);
    if (!Number.isInteger(index) || index < 0 || index >= size) throw new RangeError(`no leaf ${index} in ${size}`);
    const path: Buffer[] = [];
    let start = 0;
    let count = size;
    while (count > 1) {
      const split = splitOf(count);
      if (index < start + split) {
        path.push(this.#hash(start + split, count - split));
        count = split;
      } else {
        path.push(this.#hash(start, split));
        start += split;
        count -= split;
      }
    }
    return path.reverse().map(hexOf);
  }

  /** Consistency proof of RFC 6962 §2.1.2; empty for equal sizes and from size 0. @throws RangeError */
  consistencyProof(first: number, second = this.size): string[] {
    this.#check(second);
    if (!Number.isInteger(first) || first < 0 || first > second) throw new RangeError(`no proof ${first} to ${second}`);
    if (first === 0 || first === second) return [];
    const path: Buffer[] = [];
    let start = 0;
    let count = second;
    let old = first;
    let isWhole = true;
    while (old !== count) {
      const split = splitOf(count);
      if (old <= split) {
        path.push(this.#hash(start + split, count - split));
        count = split;
      } else {
        path.push(this.#hash(start, split));
        start += split;
        count -= split;
        old -= split;
        isWhole = false;
      }
    }
    if (!isWhole) path.push(this.#hash(start, count));
    return path.reverse().map(hexOf);
  }

  /** MTH of `count` leaves from `start`, which is a multiple of the largest power of two below. */
  #hash(start: number, count: number): Buffer {
    const level = Math.log2(count);
    if (Number.isInteger(level)) return this.#level(level).at(start / count);
    const split = splitOf(count);
    return join(this.#hash(start, split), this.#hash(start + split, count - split));
  }

  #level(level: number): GrowingHashes {
    const found = this.#levels[level];
    if (found) return found;
    const made = new GrowingHashes();
    this.#levels[level] = made;
    return made;
  }

  #check(size: number): void {
    if (!Number.isInteger(size) || size < 0 || size > this.size) {
      throw new RangeError(`the tree has ${this.size} leaves, not ${size}`);
    }
  }
}

/** The right edge of a tree: enough to append and to know the root of what was appended so far. */
export class Frontier {
  /** Hashes of the complete subtrees, largest first; one for each bit of the size. */
  readonly #peaks: Buffer[];
  #size: number;

  /** Continues a tree of `size` leaves whose complete subtrees, largest first, are `peaks`. @throws RangeError */
  constructor(size = 0, peaks: readonly string[] = []) {
    if (!Number.isSafeInteger(size) || size < 0 || peaks.length !== bitsOf(size)) {
      throw new RangeError(`a tree of ${size} leaves has not ${peaks.length} complete subtrees`);
    }
    this.#size = size;
    this.#peaks = peaks.map(bytesOf);
  }

  get size(): number {
    return this.#size;
  }

  /** Hashes of the complete subtrees, largest first. */
  get peaks(): string[] {
    return this.#peaks.map(hexOf);
  }

  /** Adds a leaf by its leaf hash. @throws RangeError when it is no SHA-256 */
  append(leaf: string): void {
    let node = bytesOf(leaf);
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2) {
      node = join(this.#peaks.pop() ?? node, node);
    }
    this.#peaks.push(node);
    this.#size++;
  }

  root(): string {
    const node = this.#peaks.reduceRight<Buffer | undefined>(
      (right, left) => (right ? join(left, right) : left),
      undefined,
    );
    return node ? hexOf(node) : EMPTY_ROOT;
  }
}

/** Whether the claim holds (RFC 9162 §2.1.3.2). */
export function verifyInclusion({ index, size, leaf, root, path }: InclusionClaim): boolean {
  if (!isSize(index) || !isSize(size) || index >= size || !areHashes([leaf, root, ...path])) return false;
  const sides = sidesOf(index, size - 1, path.length);
  if (!sides) return false;
  const nodes = path.map(bytesOf);
  const top = nodes.reduce(
    (node, step, i) => (sides[i] === "left" ? join(step, node) : join(node, step)),
    bytesOf(leaf),
  );
  return hexOf(top) === root;
}

/** Whether the claim holds (RFC 9162 §2.1.4.2); equal sizes and the start from 0 need an empty path. */
export function verifyConsistency(claim: ConsistencyClaim): boolean {
  const { first, second, firstRoot, secondRoot, path } = claim;
  if (!isSize(first) || !isSize(second) || first > second || !areHashes([firstRoot, secondRoot, ...path])) return false;
  if (first === second) return path.length === 0 && firstRoot === secondRoot;
  if (first === 0) return path.length === 0 && firstRoot === EMPTY_ROOT;
  return path.length > 0 && leadsToBothRoots(claim);
}

function leadsToBothRoots({ first, second, firstRoot, secondRoot, path }: ConsistencyClaim): boolean {
  const isComplete = Number.isInteger(Math.log2(first));
  const [seed, ...steps] = (isComplete ? [firstRoot, ...path] : path).map(bytesOf);
  let at = first - 1;
  let last = second - 1;
  while (isOdd(at)) {
    at = half(at);
    last = half(last);
  }
  const sides = sidesOf(at, last, steps.length);
  if (!sides || !seed) return false;
  let before = seed;
  let after = seed;
  for (const [i, step] of steps.entries()) {
    if (sides[i] === "left") before = join(step, before);
    after = sides[i] === "left" ? join(step, after) : join(after, step);
  }
  return hexOf(before) === firstRoot && hexOf(after) === secondRoot;
}

/** On which side the sibling stands at each step from a node to the root; undefined for another number of steps. */
function sidesOf(index: number, lastIndex: number, count: number): ("left" | "right")[] | undefined {
  const sides: ("left" | "right")[] = [];
  let at = index;
  let last = lastIndex;
  for (let i = 0; i < count; i++) {
    if (last === 0) return undefined;
    const isLeft = isOdd(at) || at === last;
    sides.push(isLeft ? "left" : "right");
    while (isLeft && !isOdd(at) && at !== 0) {
      at = half(at);
      last = half(last);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 ? sides : undefined;
}

/** Hashes one behind the other in one growing buffer. */
class GrowingHashes {
  #bytes = Buffer.alloc(64 * WIDTH);
  count = 0;

  push(node: Uint8Array): void {
    const end = (this.count + 1) * WIDTH;
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(this.#bytes.length * 2);
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    this.#bytes.set(node, this.count * WIDTH);
    this.count++;
  }

  at(index: number): Buffer {
    return this.#bytes.subarray(index * WIDTH, (index + 1) * WIDTH);
  }
}

const pair = Buffer.alloc(1 + 2 * WIDTH);
pair[0] = 1;

/** Hash of a node from its two children: SHA-256(0x01 || left || right). */
function join(left: Uint8Array, right: Uint8Array): Buffer {
  pair.set(left, 1);
  pair.set(right, 1 + WIDTH);
  return hash("sha256", pair, "buffer");
}

/** Largest power of two smaller than `count`, which is at least 2. */
function splitOf(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

function bytesOf(hex: string): Buffer {
  const bytes = Buffer.from(hex, "hex");
  if (bytes.length !== WIDTH || hex.length !== 2 * WIDTH) throw new RangeError("not a SHA-256 in hexadecimal");
  return bytes;
}

function hexOf(bytes: Buffer): string {
  return bytes.toString("hex");
}

function areHashes(texts: readonly string[]): boolean {
  return texts.every((text) => /^[0-9a-f]{64}$/.test(text));
}

// Sizes may pass 2^31, where the bit operators of JavaScript end.
const isOdd = (value: number): boolean => value % 2 === 1;
const half = (value: number): number => Math.floor(value / 2);
const isSize = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

function bitsOf(size: number): number {
  let bits = 0;
  for (let rest = size; rest > 0; rest = half(rest)) bits += rest % 2;
  return bits;
}
