// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, sign, verify } from "node:crypto";
import { expect, test } from "vitest";
import {
  type ClusterSize,
  type Effects,
  Elector,
  type Formation,
  FoundingMessage,
  formationFault,
  KeptPromises,
  proposalWaitMs,
} from "./founding.ts";

const [A, B, C, D] = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc", "dddddddddddddddd"] as const;
const keys = new Map([A, B, C, D].map((node) => [node as string, generateKeyPairSync("ed25519")]));

function isSigned(node: string, text: string, signature: string): boolean {
  const pair = keys.get(node);
  return pair !== undefined && verify(null, Buffer.from(text), pair.publicKey, Buffer.from(signature, "base64"));
}

function elector(node: string, { size = 3, kept }: { size?: ClusterSize; kept?: KeptPromises | undefined } = {}) {
  let formations = 0;
  return new Elector({
    cluster: "lan",
    size,
    node,
    kept,
    newFormation: () => `${node.charCodeAt(0).toString(16)}${++formations}`.padStart(32, "0"),
    sign: (text) => sign(null, Buffer.from(text), keys.get(node)?.privateKey ?? "").toString("base64"),
    verify: isSigned,
  });
}

/** Delivers everything that follows from some effects, in order, between the electors that are there. */
function settle(electors: ReadonlyMap<string, Elector>, first: string, effects: Effects): void {
  const letters: { from: string; to: string; message: FoundingMessage }[] = [];
  const send = (from: string, sender: string, { reply, broadcast }: Effects) => {
    if (reply) letters.push({ from, to: sender, message: reply });
    if (broadcast) for (const to of electors.keys()) letters.push({ from, to, message: broadcast });
  };
  send(first, first, effects);
  for (let letter = letters.shift(); letter; letter = letters.shift()) {
    const { from, to, message } = letter;
    // What travels must be what the schema lets through.
    const parsed = FoundingMessage.parse(JSON.parse(JSON.stringify(message)));
    send(to, from, electors.get(to)?.receive(from, parsed) ?? {});
  }
}

function formed(nodes: readonly string[], size: ClusterSize = 3): Formation {
  const electors = new Map(nodes.map((node) => [node, elector(node, { size })]));
  const [first = ""] = nodes;
  settle(electors, first, electors.get(first)?.propose() ?? {});
  const formation = electors.get(first)?.formed;
  if (!formation) throw new Error("nobody founded");
  return formation;
}

const context = { cluster: "lan", size: 3 as const, verify: isSigned };

test("two of three that are there choose the one that proposes, with a certificate that anybody can check", () => {
  const formation = formed([A, B]);

  expect(formation.founder.node).toBe(A);
  expect(formation.votes.map(({ voter }) => voter).sort()).toEqual([A, B]);
  expect(formationFault(formation, context)).toBeUndefined();
});

test("one of three that is alone founds nothing; a single one does", () => {
  expect(() => formed([A])).toThrow("nobody founded");
  expect(formed([A], 1).votes).toHaveLength(1);
});

test.each<[string, (formation: Formation) => Formation]>([
  ["another cluster", (formation) => ({ ...formation, cluster: "other" })],
  ["another size", (formation) => ({ ...formation, size: 5 })],
  ["too few votes", (formation) => ({ ...formation, votes: formation.votes.slice(0, 1) })],
  [
    "a vote that counts twice",
    (formation) => ({ ...formation, votes: formation.votes.map(() => formation.votes[0] as never) }),
  ],
  ["another founder", (formation) => ({ ...formation, founder: { ...formation.founder, node: C } })],
  [
    "another formation id",
    (formation) => ({ ...formation, founder: { ...formation.founder, formation: "0".repeat(32) } }),
  ],
  ["another ballot", (formation) => ({ ...formation, ballot: { round: 9, node: A } })],
  [
    "votes under other names",
    (formation) => ({ ...formation, votes: formation.votes.map((vote, at) => ({ ...vote, voter: [C, D][at] ?? "" })) }),
  ],
])("a certificate with %s proves nothing, and nobody adopts it", (_, forge) => {
  const forged = forge(formed([A, B]));
  const stranger = elector(C);

  expect(formationFault(forged, context)).toBeTypeOf("string");
  expect(stranger.receive(A, { kind: "formed", formation: forged })).toEqual({});
  expect(stranger.formed).toBeUndefined();
});

test("an elector that starts again never uses a ballot twice, and gives what it had accepted to whoever asks", () => {
  const first = elector(B);
  const { keep } = first.propose();
  const again = elector(B, { kept: KeptPromises.parse(JSON.parse(JSON.stringify(keep))) });
  const vote = { ballot: { round: 7, node: A }, founder: { node: A, formation: "1".repeat(32) } };
  const { keep: accepted } = again.receive(A, { kind: "accept", vote });
  const third = elector(B, { kept: accepted });

  expect(again.propose().broadcast).toEqual({ kind: "prepare", ballot: { round: 8, node: B } });
  expect(third.receive(C, { kind: "prepare", ballot: { round: 8, node: C } }).reply).toMatchObject({ accepted: vote });
  expect(third.receive(A, { kind: "accept", vote }).reply).toMatchObject({ kind: "refuse", promised: { round: 8 } });
});

test("a proposer that was refused tries a higher round, and a decision is not changed by it", () => {
  const electors = new Map([A, B, C].map((node) => [node as string, elector(node)]));
  electors.get(B)?.receive(C, { kind: "prepare", ballot: { round: 5, node: C } });
  electors.get(C)?.receive(C, { kind: "prepare", ballot: { round: 5, node: C } });
  settle(electors, A, electors.get(A)?.propose() ?? {});
  expect(electors.get(A)?.formed).toBeUndefined();

  settle(electors, A, electors.get(A)?.propose() ?? {});
  const decided = electors.get(A)?.formed;
  settle(electors, C, electors.get(C)?.propose() ?? {});

  expect(decided?.ballot).toEqual({ round: 6, node: A });
  expect([B, C].map((node) => electors.get(node)?.formed)).toEqual([decided, decided]);
});

test.each([
  ["the same size", formed([C, D])],
  ["another size", formed([C], 1)],
])("a second formation of the same cluster, for %s, is told and not adopted", (_, other) => {
  const one = formed([A, B]);
  const member = elector(A);
  member.receive(B, { kind: "formed", formation: one });

  expect(member.receive(C, { kind: "formed", formation: other })).toEqual({ split: other });
  expect(member.formed).toEqual(one);
});

test("of a proposer that names two founders in one ballot only the first is voted for", () => {
  const voter = elector(B);
  const ballot = { round: 3, node: A };
  const vote = (formation: string) => ({ ballot, founder: { node: A, formation: formation.repeat(32) } });

  expect(voter.receive(A, { kind: "accept", vote: vote("1") }).reply).toMatchObject({ kind: "accepted" });
  expect(voter.receive(A, { kind: "accept", vote: vote("2") })).toEqual({
    reply: { kind: "refuse", ballot, promised: ballot },
  });
});

test("a fourth server of three is named and not counted", () => {
  const met = elector(A);
  met.receive(B, { kind: "prepare", ballot: { round: 1, node: B } });
  met.receive(C, { kind: "prepare", ballot: { round: 2, node: C } });

  expect(met.receive(D, { kind: "prepare", ballot: { round: 3, node: D } })).toEqual({ tooMany: D });
});

test("the wait before a proposal starts at 50 to 300 ms, doubles, and ends at 5 s", () => {
  expect([proposalWaitMs(0, 0), proposalWaitMs(0, 0.999_999)].map(Math.round)).toEqual([50, 300]);
  expect(proposalWaitMs(3, 0)).toBe(400);
  expect(proposalWaitMs(1_000, 0.5)).toBe(5_000);
});
