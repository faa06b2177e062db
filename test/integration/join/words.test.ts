// SPDX-License-Identifier: Apache-2.0
/** Words on two screens (RULES.md part 5, A2): both ends of one session show the same, and whoever sits in between cannot have it so. */
import { dialJoin } from "@debvisor/shared/join/dial";
import { FrameStream } from "@debvisor/shared/join/frames";
import type { Peer } from "@debvisor/shared/join/session";
import { commitmentTo } from "@debvisor/shared/join/words";
import { expect, test } from "vitest";
import {
  bytes32,
  CODE,
  exchange,
  type Frame,
  hello,
  join,
  type Machine,
  machine,
  openCode,
  rawDial,
  rawListen,
  startPort,
  startRelay,
} from "./rig.ts";

const BY_WORDS = { kind: "words" } as const;
const FACTS = { name: "node-2", role: "worker" };

/** A port at which machines may wait; `shown` is what its screen shows. */
async function startWordsPort(mayWait = true) {
  const shown: Peer[] = [];
  const gone: Peer[] = [];
  const words = (peer: Peer) => Promise.resolve(mayWait && shown.push(peer) > 0);
  const port = await startPort({ words, ended: (peer) => gone.push(peer), secret: () => undefined });
  return { ...port, shown, gone };
}

async function dial(port: number, self: Machine = machine()) {
  return await dialJoin({ host: "127.0.0.1", port, identityPem: self.pem, proof: BY_WORDS, facts: FACTS });
}

test("both ends of a session show the same six words, and those of the next session are others", async () => {
  await using port = await startWordsPort();
  const self = machine();
  const first = await dial(port.port, self);
  const second = await dial(port.port, self);
  for (const channel of [first, second]) channel.close();

  expect(port.shown).toEqual([
    { id: self.id, spki: self.spki, proof: "words", words: first.peer.words },
    { id: self.id, spki: self.spki, proof: "words", words: second.peer.words },
  ]);
  expect(first.peer).toMatchObject({ id: port.self.id, spki: port.self.spki, proof: "words" });
  expect(first.peer.words).toMatch(/^[a-z]{3,8}( [a-z]{3,8}){5}$/);
  expect(second.peer.words).not.toBe(first.peer.words);
});

test("the port hears that a session has ended", async () => {
  await using port = await startWordsPort();
  const channel = await dial(port.port);
  expect(port.gone).toEqual([]);
  channel.close();

  await expect.poll(() => port.gone).toEqual(port.shown);
});

test("MITM: a relay has both screens show different words", async () => {
  await using port = await startWordsPort();
  await using relay = await startRelay(port.port);
  const channel = await dial(relay.port);
  channel.close();

  expect(relay.frames.map(({ frame }) => frame["type"])).toEqual(["hello", "welcome", "number", "number"]);
  expect(port.shown).toHaveLength(1);
  expect(channel.peer.words).not.toBe(port.shown[0]?.words);
});

test("MITM: not even with the keys of both machines", async () => {
  const self = machine();
  await using port = await startWordsPort();
  await using relay = await startRelay(port.port, undefined, { asResponder: port.self, asJoiner: self });
  const channel = await dial(relay.port, self);
  channel.close();

  expect(channel.peer.id).toBe(port.self.id);
  expect(port.shown).toMatchObject([{ id: self.id }]);
  expect(channel.peer.words).not.toBe(port.shown[0]?.words);
});

/** Answers as a responder that may choose its number after it has heard the joiner's. */
async function rogue(stream: FrameStream, commitment: unknown, reveal: () => Frame): Promise<void> {
  await stream.next();
  const welcome = { type: "welcome", versions: [1], version: 1, mode: "words", nonce: bytes32(), cluster: "lab-1" };
  await stream.send(commitment === undefined ? welcome : { ...welcome, commitment });
  if (await stream.next()) await stream.send({ type: "number", ...reveal() });
  await stream.next();
}

const NUMBER = Buffer.alloc(32, 1);
const SALT = Buffer.alloc(32, 2);
const COMMITMENT = commitmentTo(NUMBER, SALT).toString("base64");
const opened = (number: Uint8Array, salt: Uint8Array) => () => ({
  number: Buffer.from(number).toString("base64"),
  salt: Buffer.from(salt).toString("base64"),
});

test.each<[string, unknown, () => Frame]>([
  ["shows another number than the one it is bound to", COMMITMENT, opened(Buffer.alloc(32, 3), SALT)],
  ["shows another salt", COMMITMENT, opened(NUMBER, Buffer.alloc(32, 3))],
  ["is bound to nothing", undefined, opened(NUMBER, SALT)],
  ["shows nothing of what it is bound to", COMMITMENT, () => ({})],
])("a responder that %s gets no words shown", async (_, commitment, reveal) => {
  await using port = await rawListen((socket) => void rogue(new FrameStream(socket), commitment, reveal));

  await expect(dial(port.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
});

test("a responder that keeps to its number has words shown: it is what people compare that decides", async () => {
  await using port = await rawListen((socket) => void rogue(new FrameStream(socket), COMMITMENT, opened(NUMBER, SALT)));
  const channel = await dial(port.port);
  channel.close();

  expect(channel.peer.words).toMatch(/^([a-z]+ ){5}[a-z]+$/);
});

test("a joiner learns the responder's number only after it has shown its own", async () => {
  await using port = await startWordsPort();
  const stream = new FrameStream(await rawDial(port.port));
  await stream.send(hello({ modes: ["words"], facts: FACTS }));
  const welcome = (await stream.next()) as Frame;

  expect(Object.keys(welcome).sort()).toEqual([
    ...["cluster", "commitment", "mode", "nonce", "type", "version", "versions"],
  ]);
  expect(port.shown).toEqual([]);
  await stream.send({ type: "number", number: bytes32() });
  expect(await stream.next()).toMatchObject({ type: "number", salt: expect.any(String) });
  expect(port.shown).toHaveLength(1);
});

test("no fallback: where nobody may wait, a machine in this mode is let in by nothing else that is open", async () => {
  await using port = await startPort({ code: openCode(() => port.seen) });

  await expect(dial(port.port)).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
  const both = await exchange(port.port, [
    hello({ modes: ["words", "secret"] }),
    { type: "number", number: bytes32() },
  ]);
  expect(both.map(({ type }) => type)).toEqual(["welcome", "refused"]);
  expect(port.seen).toMatchObject({ spent: 0, peers: [] });
});

test("no fallback: where machines may wait, secret and code let nobody in", async () => {
  await using port = await startWordsPort();

  await expect(join(port.port)).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
  await expect(join(port.port, { proof: { kind: "code", code: CODE } })).rejects.toMatchObject({
    code: "JOIN_MODE_REFUSED",
  });
  expect(port.shown).toEqual([]);
});

test("downgrade: a responder that answers with words to another proof is not believed", async () => {
  await using port = await rawListen((socket) => void rogue(new FrameStream(socket), COMMITMENT, opened(NUMBER, SALT)));

  await expect(join(port.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
});

test("replay: a number of the joiner that is none ends the attempt, and nothing is shown", async () => {
  await using port = await startWordsPort();
  const said = hello({ modes: ["words"], facts: FACTS });

  await expect(exchange(port.port, [said, { type: "number", number: "AAAA" }])).resolves.toMatchObject([
    { type: "welcome" },
    { type: "refused", code: "JOIN_PROOF_FAILED" },
  ]);
  await expect(exchange(port.port, [said])).resolves.toMatchObject([{ type: "refused", code: "JOIN_PROOF_FAILED" }]);
  expect(port.shown).toEqual([]);
});
