// SPDX-License-Identifier: Apache-2.0
/** Every part of a transcript counts, and no two sets of parts read alike. */
import { createHash, createHmac, hkdfSync } from "node:crypto";
import { expect, test } from "vitest";
import { isProof, proofKey, proofOf, type TranscriptParts, transcriptOf } from "./transcript.ts";

const [spkiA, spkiB] = ["aa".repeat(32), "bb".repeat(32)];
const bytes = (value: number) => new Uint8Array(32).fill(value);
const parts: TranscriptParts = {
  spki: { joiner: spkiA, responder: spkiB },
  exporter: bytes(1),
  nonces: { joiner: bytes(2), responder: bytes(3) },
  versions: { joiner: [1, 2], responder: [1] },
  modes: ["secret"],
  chosen: { version: 1, mode: "secret" },
  cluster: "lab-1",
  facts: { model: "x", cores: 4 },
};

test("the layout of a transcript is fixed", () => {
  const field = (value: Uint8Array | string) => {
    const content = Buffer.from(value);
    return Buffer.concat([Buffer.from([0, 0, 0, content.length]), content]);
  };
  const facts = createHash("sha256").update('{"cores":4,"model":"x"}').digest();
  const expected = [
    ...["dvj/1", Buffer.from(spkiA, "hex"), Buffer.from(spkiB, "hex"), bytes(1), bytes(2), bytes(3)],
    ...["2", "1", "2", "1", "1", "1", "secret", "1", "secret", "lab-1", facts],
  ];

  const hash = createHash("sha256")
    .update(Buffer.concat(expected.map(field)))
    .digest("hex");
  expect(transcriptOf(parts).toString("hex")).toBe(hash);
});

test.each<[string, Partial<TranscriptParts>]>([
  ["keys that changed places", { spki: { joiner: spkiB, responder: spkiA } }],
  ["another key of the joiner", { spki: { joiner: spkiB, responder: spkiB } }],
  ["another key of the responder", { spki: { joiner: spkiA, responder: spkiA } }],
  ["another TLS session", { exporter: bytes(9) }],
  ["another nonce of the joiner", { nonces: { joiner: bytes(9), responder: bytes(3) } }],
  ["another nonce of the responder", { nonces: { joiner: bytes(2), responder: bytes(9) } }],
  ["fewer versions offered", { versions: { joiner: [1], responder: [1] } }],
  ["versions in another order", { versions: { joiner: [2, 1], responder: [1] } }],
  ["a version moved to the other side", { versions: { joiner: [1], responder: [2, 1] } }],
  ["more versions of the responder", { versions: { joiner: [1, 2], responder: [1, 2] } }],
  ["another offer of modes", { modes: ["member", "secret"] }],
  ["modes run together", { modes: ["secretsecret"] }],
  ["another mode chosen", { chosen: { version: 1, mode: "code" } }],
  ["another version chosen", { chosen: { version: 2, mode: "secret" } }],
  ["another cluster", { cluster: "lab-2" }],
  ["other facts", { facts: { model: "y", cores: 4 } }],
  ["no facts", { facts: {} }],
])("%s make another transcript", (_, change) => {
  expect(transcriptOf({ ...parts, ...change })).not.toEqual(transcriptOf(parts));
});

test("the order in which facts are written does not count", () => {
  expect(transcriptOf({ ...parts, facts: { cores: 4, model: "x" } })).toEqual(transcriptOf(parts));
});

test("a proof is an HMAC under a key that HKDF made of the secret, the cluster and the kind of proof", () => {
  const key = Buffer.from(hkdfSync("sha256", bytes(7), Buffer.from("lab-1"), "dvj1 mac secret", 32));
  const text = Buffer.concat([Buffer.from("dvj/1 joiner\0"), transcriptOf(parts)]);

  expect(proofKey("secret", bytes(7), "lab-1")).toEqual(key);
  expect(proofOf(key, "joiner", transcriptOf(parts))).toEqual(createHmac("sha256", key).update(text).digest());
});

test("a proof holds for its key, role, transcript and kind only", () => {
  const transcript = transcriptOf(parts);
  const key = proofKey("secret", bytes(7), "lab-1");
  const proof = proofOf(key, "joiner", transcript);

  expect(isProof(key, "joiner", transcript, proof)).toBe(true);
  expect(isProof(key, "responder", transcript, proof)).toBe(false);
  expect(isProof(key, "joiner", bytes(0), proof)).toBe(false);
  for (const other of [proofKey("code", bytes(7), "lab-1"), proofKey("secret", bytes(7), "lab-2"), bytes(7)])
    expect(isProof(other, "joiner", transcript, proof)).toBe(false);
  for (const odd of [proof.subarray(1), Buffer.concat([proof, proof]), Buffer.alloc(0)])
    expect(isProof(key, "joiner", transcript, odd)).toBe(false);
});
