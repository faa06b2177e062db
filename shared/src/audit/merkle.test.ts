// SPDX-License-Identifier: Apache-2.0
/** The tree against the published vectors of RFC 6962 (certificate-transparency-go) and against a naive tree. */
import { hash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EMPTY_ROOT, Frontier, leafHash, MerkleTree, verifyConsistency, verifyInclusion } from "./merkle.ts";

const LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"].map(
  (hex) => Buffer.from(hex, "hex"),
);

/** Roots of the first 1 to 8 leaves. */
const ROOTS = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/** Index, size, path. */
const PATHS = [
  { index: 0, size: 1, path: [] },
  {
    index: 0,
    size: 8,
    path: [
      "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
  },
  {
    index: 5,
    size: 8,
    path: [
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
  },
  { index: 2, size: 3, path: ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"] },
  {
    index: 1,
    size: 5,
    path: [
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
  },
];

const PROOFS = [
  { first: 1, second: 1, path: [] },
  {
    first: 1,
    second: 8,
    path: [
      "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
  },
  {
    first: 6,
    second: 8,
    path: [
      "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
  },
  {
    first: 2,
    second: 5,
    path: [
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
  },
];

function treeOf(leaves: readonly (string | Uint8Array)[]): MerkleTree {
  const tree = new MerkleTree();
  for (const leaf of leaves) tree.append(leafHash(leaf));
  return tree;
}

function leavesOf(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `leaf ${i}`);
}

/** MTH as RFC 6962 §2.1 writes it. */
function naiveRoot(leaves: readonly string[]): Buffer {
  if (leaves.length === 0) return hash("sha256", "", "buffer");
  if (leaves.length === 1) return hash("sha256", Buffer.concat([Buffer.of(0), Buffer.from(leaves[0] ?? "")]), "buffer");
  const split = splitOf(leaves.length);
  const halves = [naiveRoot(leaves.slice(0, split)), naiveRoot(leaves.slice(split))];
  return hash("sha256", Buffer.concat([Buffer.of(1), ...halves]), "buffer");
}

/** PATH(m, D[n]) of §2.1.1. */
function naivePath(index: number, leaves: readonly string[]): string[] {
  if (leaves.length <= 1) return [];
  const split = splitOf(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return index < split
    ? [...naivePath(index, left), naiveRoot(right).toString("hex")]
    : [...naivePath(index - split, right), naiveRoot(left).toString("hex")];
}

/** SUBPROOF(m, D[n], b) of §2.1.2. */
function naiveProof(first: number, leaves: readonly string[], isWhole: boolean): string[] {
  if (first === leaves.length) return isWhole ? [] : [naiveRoot(leaves).toString("hex")];
  const split = splitOf(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return first <= split
    ? [...naiveProof(first, left, isWhole), naiveRoot(right).toString("hex")]
    : [...naiveProof(first - split, right, false), naiveRoot(left).toString("hex")];
}

function splitOf(count: number): number {
  return 2 ** (Math.ceil(Math.log2(count)) - 1);
}

/** A size from 1 to 200, and a smaller or equal number of leaves. */
const sizes = fc
  .integer({ min: 1, max: 200 })
  .chain((size) => fc.tuple(fc.constant(size), fc.integer({ min: 1, max: size })));

describe("the published vectors of RFC 6962", () => {
  const tree = treeOf(LEAVES);

  it("gives the empty tree the hash of nothing", () => {
    expect(new MerkleTree().root()).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect(EMPTY_ROOT).toBe(new Frontier().root());
  });

  it("gives every size its root, at once and later", () => {
    const frontier = new Frontier();
    const growing = LEAVES.map((leaf) => {
      frontier.append(leafHash(leaf));
      return frontier.root();
    });
    expect(growing).toEqual(ROOTS);
    expect(ROOTS.map((_, i) => tree.root(i + 1))).toEqual(ROOTS);
  });

  it.each(PATHS)("proves leaf $index in $size", ({ index, size, path }) => {
    expect(tree.inclusionProof(index, size)).toEqual(path);
    const claim = { index, size, leaf: tree.leaf(index), root: tree.root(size), path };
    expect(verifyInclusion(claim)).toBe(true);
  });

  it.each(PROOFS)("proves that $second continues $first", ({ first, second, path }) => {
    expect(tree.consistencyProof(first, second)).toEqual(path);
    const claim = { first, second, firstRoot: tree.root(first), secondRoot: tree.root(second), path };
    expect(verifyConsistency(claim)).toBe(true);
  });
});

describe("against a naive tree", () => {
  it("has the same roots, and so has the frontier, also continued from its peaks", () => {
    fc.assert(
      fc.property(sizes, ([size, first]) => {
        const leaves = leavesOf(size);
        const tree = treeOf(leaves);
        expect(tree.root(first)).toBe(naiveRoot(leaves.slice(0, first)).toString("hex"));
        let frontier = new Frontier();
        for (const [i, leaf] of leaves.entries()) {
          if (i === first) frontier = new Frontier(frontier.size, frontier.peaks);
          frontier.append(leafHash(leaf));
        }
        expect(frontier.root()).toBe(tree.root());
      }),
    );
  });

  it("has the same audit paths, which hold for their leaf and for no other place, root or path", () => {
    fc.assert(
      fc.property(sizes, fc.nat(), ([size, place], other) => {
        const leaves = leavesOf(size);
        const tree = treeOf(leaves);
        const index = place - 1;
        const path = tree.inclusionProof(index, size);
        expect(path).toEqual(naivePath(index, leaves));
        const claim = { index, size, leaf: tree.leaf(index), root: tree.root(), path };
        expect(verifyInclusion(claim)).toBe(true);
        const wrong = other % size;
        if (wrong !== index) expect(verifyInclusion({ ...claim, index: wrong })).toBe(false);
        expect(verifyInclusion({ ...claim, root: leafHash("x") })).toBe(false);
        expect(verifyInclusion({ ...claim, leaf: leafHash("x") })).toBe(false);
        expect(verifyInclusion({ ...claim, path: [...path, leafHash("x")] })).toBe(false);
        if (path.length > 0) expect(verifyInclusion({ ...claim, path: path.slice(1) })).toBe(false);
        if (path.length > 0) expect(verifyInclusion({ ...claim, path: flipped(path, other) })).toBe(false);
      }),
    );
  });

  it("has the same consistency proofs, which hold for their roots and for no others", () => {
    fc.assert(
      fc.property(sizes, fc.nat(), ([second, first], other) => {
        const leaves = leavesOf(second);
        const tree = treeOf(leaves);
        const path = tree.consistencyProof(first, second);
        expect(path).toEqual(naiveProof(first, leaves, true));
        const claim = { first, second, firstRoot: tree.root(first), secondRoot: tree.root(second), path };
        expect(verifyConsistency(claim)).toBe(true);
        expect(verifyConsistency({ ...claim, firstRoot: leafHash("x") })).toBe(false);
        expect(verifyConsistency({ ...claim, secondRoot: leafHash("x") })).toBe(false);
        expect(verifyConsistency({ ...claim, path: [...path, leafHash("x")] })).toBe(false);
        if (path.length > 0) expect(verifyConsistency({ ...claim, path: path.slice(1) })).toBe(false);
        if (path.length > 0) expect(verifyConsistency({ ...claim, path: flipped(path, other) })).toBe(false);
      }),
    );
  });

  it("does not prove that a tree continues one with a changed leaf", () => {
    fc.assert(
      fc.property(sizes, fc.nat(), ([second, first], place) => {
        const leaves = leavesOf(second);
        const tree = treeOf(leaves);
        const changed = treeOf(leaves.with(place % first, "changed"));
        const path = tree.consistencyProof(first, second);
        const claim = { first, second, firstRoot: changed.root(first), secondRoot: tree.root(second), path };
        expect(verifyConsistency(claim)).toBe(false);
      }),
    );
  });
});

describe("arguments that make no sense", () => {
  it("refuses leaves that are no hash, and sizes beyond the tree", () => {
    const tree = treeOf(leavesOf(3));
    expect(() => tree.append("abc")).toThrow(RangeError);
    expect(() => tree.root(4)).toThrow(RangeError);
    expect(() => tree.inclusionProof(3, 3)).toThrow(RangeError);
    expect(() => tree.consistencyProof(4, 3)).toThrow(RangeError);
    expect(() => new Frontier(3, [leafHash("x")])).toThrow(RangeError);
  });

  it("accepts the start from nothing only with an empty path", () => {
    const tree = treeOf(leavesOf(3));
    const claim = { first: 0, second: 3, firstRoot: EMPTY_ROOT, secondRoot: tree.root(), path: [] };
    expect(verifyConsistency(claim)).toBe(true);
    expect(verifyConsistency({ ...claim, path: [leafHash("x")] })).toBe(false);
    expect(verifyConsistency({ ...claim, firstRoot: leafHash("x") })).toBe(false);
  });
});

function flipped(path: readonly string[], place: number): string[] {
  const index = place % path.length;
  const hex = path[index] ?? "";
  return path.with(index, `${hex.startsWith("0") ? "1" : "0"}${hex.slice(1)}`);
}
