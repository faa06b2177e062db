// SPDX-License-Identifier: Apache-2.0
/** The threats of RULES.md part 5 that the join protocol itself has to meet, each by its name; bounds.test.ts and flood.test.ts have the rest. */
import "reflect-metadata";
import { KeyObject, randomBytes } from "node:crypto";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { type DialOptions, dialJoin } from "@debvisor/shared/join/dial";
import { FrameStream } from "@debvisor/shared/join/frames";
import { Hello, transcriptOfSession } from "@debvisor/shared/join/handshake";
import { proveAsJoiner } from "@debvisor/shared/join/prove-joiner";
import { joinTls, sessionOf } from "@debvisor/shared/join/session";
import { proofKey, proofOf } from "@debvisor/shared/join/transcript";
import { X509CertificateGenerator } from "@peculiar/x509";
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
  SECRET,
  SHARE,
  startPort,
  startRelay,
  type Way,
} from "./rig.ts";

const code = (text: string) => ({ kind: "code", code: text }) as const;

test("MITM: a relay that ends TLS on both sides gets nobody in by the secret, whatever it passes on", async () => {
  await using port = await startPort();
  await using relay = await startRelay(port.port);

  await expect(join(relay.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(relay.frames.map(({ frame }) => frame["type"])).toEqual(["hello", "welcome"]);
  expect(port.seen.peers).toEqual([]);
});

test("MITM: a relay gets nobody in by a code, and the attempt counts as a try", async () => {
  await using port = await startPort({ code: openCode(() => port.seen) });
  await using relay = await startRelay(port.port);

  await expect(join(relay.port, { proof: code(CODE) })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(relay.frames.map(({ frame }) => frame["type"])).toEqual(["hello", "welcome", "proof", "refused"]);
  expect(port.seen).toMatchObject({ spent: 1, used: [], peers: [] });
});

test("MITM: a relay between members is noticed before a word is said", async () => {
  const self = machine();
  await using port = await startPort({ isMember: (id) => id === self.id });
  await using relay = await startRelay(port.port);
  const proof = { kind: "member", spkis: [port.self.spki] } as const;

  await expect(join(relay.port, { proof }, self)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(relay.frames).toEqual([]);
  await expect(exchange(port.port, [hello({ modes: ["member"] })])).resolves.toMatchObject([{ type: "refused" }]);
});

test.each<[string, DialOptions["proof"]]>([
  ["the secret", { kind: "secret", secret: SECRET }],
  ["a code", code(CODE)],
])(
  "MITM: a relay with the stolen keys of both machines gets nobody in by %s, because its TLS sessions are two",
  async (_, proof) => {
    const self = machine();
    await using port = await startPort({ code: openCode(() => port.seen) });
    const keys = { asResponder: port.self, asJoiner: self };
    await using relay = await startRelay(port.port, undefined, keys);

    await expect(join(relay.port, { proof }, self)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
    expect(relay.frames.map(({ frame }) => frame["type"])).toContain("welcome");
    expect(port.seen).toMatchObject({ used: [], peers: [] });
  },
);

test("replay: frames of a session that was recorded open no other one", async () => {
  const recorded: Frame[] = [];
  await using port = await startPort();
  await using tap = await startTap(port.port, recorded);
  await expect(join(tap.port, {}, tap.joiner)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  const [first] = recorded;
  expect(first).toMatchObject({ type: "hello" });

  const again = await exchange(port.port, [first], tap.joiner);
  const fresh = await exchange(port.port, [
    { ...first, nonce: bytes32() },
    { type: "proof", proof: bytes32() },
  ]);

  expect(again).toMatchObject([{ type: "refused", code: "JOIN_PROOF_FAILED" }]);
  expect(fresh).toMatchObject([{ type: "welcome" }, { type: "refused", code: "JOIN_PROOF_FAILED" }]);
});

test("replay: a welcome of an earlier session is believed by no joiner", async () => {
  await using port = await startPort();
  const [welcome] = await exchange(port.port, [hello()]);
  expect(welcome).toMatchObject({ type: "welcome", proof: expect.any(String) });
  await using replayer = await rawListen((socket) => void answer(new FrameStream(socket), welcome), port.self);

  await expect(join(replayer.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
});

test("replay: what a joiner has proved in one session proves nothing in the next, not even with the same two keys", async () => {
  const [self, responder] = [machine(), machine()];
  await using first = await startPort({}, responder);
  // The same responder after a restart, which remembers no nonce.
  await using second = await startPort({}, responder);
  const said = await recordJoin(first.port, self);
  expect(said.map(({ type }) => type)).toEqual(["hello", "proof"]);

  await expect(exchange(first.port, said, self)).resolves.toMatchObject([{ code: "JOIN_PROOF_FAILED" }]);
  await expect(exchange(second.port, said, self)).resolves.toMatchObject([
    { type: "welcome" },
    { type: "refused", code: "JOIN_PROOF_FAILED" },
  ]);
});

test.each<[string, (frame: Frame, way: Way) => Frame, string]>([
  ["versions offered", on("hello", (frame) => ({ ...frame, versions: [1, 2] })), "JOIN_PROOF_FAILED"],
  ["modes offered", on("hello", (frame) => ({ ...frame, modes: ["code", "secret"] })), "JOIN_MODE_REFUSED"],
  ["facts", on("hello", (frame) => ({ ...frame, facts: { role: "server" } })), "JOIN_PROOF_FAILED"],
  ["mode chosen", on("welcome", (frame) => ({ ...frame, mode: "member" })), "JOIN_PROOF_FAILED"],
  ["version chosen", on("welcome", (frame) => ({ ...frame, version: 2 })), "JOIN_VERSION"],
  ["versions of the responder", on("welcome", (frame) => ({ ...frame, versions: [1, 2] })), "JOIN_PROOF_FAILED"],
  ["proof, which it leaves out", on("welcome", ({ proof: _, ...frame }) => frame), "JOIN_PROOF_FAILED"],
])("downgrade: a relay that edits the %s is refused", async (_, edit, expected) => {
  await using port = await startPort();
  await using relay = await startRelay(port.port, edit);

  await expect(join(relay.port)).rejects.toMatchObject({ code: expected });
  expect(port.seen.peers).toEqual([]);
});

test("downgrade: a machine that can do more is never asked for less", async () => {
  await using port = await startPort({ code: openCode(() => port.seen), secret: () => undefined });

  const answers = await exchange(port.port, [hello({ modes: ["secret", "code"], share: bytes32() })]);

  expect(answers).toEqual([{ type: "refused", code: "JOIN_MODE_REFUSED", versions: [1] }]);
});

test("downgrade: a responder that has the secret and answers by another kind of proof is refused", async () => {
  const responder = machine();
  const welcomeAs = async (mode: string, socket: TLSSocket) => {
    const session = sessionOf(socket, responder.spki);
    const asked = Hello.parse(await session.stream.next());
    const welcome = { versions: [1], version: 1, mode, nonce: randomBytes(32), cluster: "lab-1" };
    const transcript = transcriptOfSession(session, "responder", asked, welcome);
    const proof = proofOf(proofKey("secret", SECRET, "lab-1"), "responder", transcript).toString("base64");
    await session.stream.send({ type: "welcome", ...welcome, nonce: welcome.nonce.toString("base64"), proof });
    await session.stream.next();
    await session.stream.send({ type: "accepted" });
  };
  await using weaker = await rawListen((socket) => void welcomeAs("member", socket), responder);
  await using asked = await rawListen((socket) => void welcomeAs("secret", socket), responder);
  const proof = { kind: "secret", secret: SECRET } as const;
  const dial = (port: number) => dialJoin({ host: "127.0.0.1", port, identityPem: machine().pem, proof });

  await expect(dial(weaker.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  await expect(dial(asked.port)).resolves.toMatchObject({ peer: { id: responder.id } });
});

test.each<[string, () => Promise<ConnectionOptions>]>([
  ["without a certificate", () => Promise.resolve({})],
  ["of TLS 1.2", async () => ({ ...(await own()), minVersion: "TLSv1.2", maxVersion: "TLSv1.2" })],
  ["with a key of another kind", p256],
])("downgrade: a session %s is not one in which anything is proved", async (_, show) => {
  await using port = await startPort();
  const socket = connect({ host: "127.0.0.1", port: port.port, ...(await show()), rejectUnauthorized: false });
  socket.on("error", () => undefined);
  const stream = new FrameStream(socket);

  await stream.send(hello());

  expect(await stream.next()).toBeUndefined();
  socket.destroy();
});

test("offline guess: with a code the responder shows nothing to try codes on before a try is counted", async () => {
  await using port = await startPort({ code: openCode(() => port.seen) });

  const [welcome] = await exchange(port.port, [hello({ modes: ["code"], share: SHARE })]);

  expect(Object.keys(welcome ?? {}).sort()).toEqual([
    ...["cluster", "mode", "nonce", "share", "type", "version", "versions"],
  ]);
  expect(port.seen.spent).toBe(0);
});

test("online guess: each wrong code uses up a try, and after three the right one does not open either", async () => {
  await using port = await startPort({ code: openCode(() => port.seen) });
  for (const guess of ["AAAA-AAAA-AA", "K7QF-2M9X-PU", ""])
    await expect(join(port.port, { proof: code(guess) })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });

  await expect(join(port.port, { proof: code(CODE) })).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
  expect(port.seen).toMatchObject({ spent: 3, used: [], peers: [] });
});

test("online guess: many at once have no more tries than three", async () => {
  await using port = await startPort({ code: openCode(() => port.seen) });

  const guesses = Array.from({ length: 12 }, (_, i) => join(port.port, { proof: code(`WRONG-${i}`) }));
  const codes = (await Promise.allSettled(guesses)).map((one) => (one.status === "rejected" ? one.reason.code : "in"));

  expect(codes.filter((one) => one === "JOIN_PROOF_FAILED")).toHaveLength(3);
  expect(codes.filter((one) => one === "JOIN_MODE_REFUSED")).toHaveLength(9);
});

test("online guess: a responder that does not know the code learns one guess of the joiner and nothing else", async () => {
  await using rogue = await startPort({ code: openCode(() => rogue.seen, 3, "AAAA-AAAA-AA") });

  await expect(join(rogue.port, { proof: code(CODE) })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(rogue.seen.peers).toEqual([]);
});

test.each([
  ["no proof", {}],
  ["a proof made up", { proof: bytes32() }],
])("a rogue that accepts any code with %s is not believed, and is asked nothing", async (_, shown) => {
  const seen: unknown[] = [];
  const welcome = { type: "welcome", versions: [1], version: 1, mode: "code", cluster: "lab-1", share: SHARE };
  const accept = async (stream: FrameStream) => {
    await stream.next();
    await stream.send({ ...welcome, nonce: bytes32() });
    seen.push(await stream.next());
    await stream.send({ type: "accepted", ...shown });
    seen.push(await stream.next());
  };
  await using rogue = await rawListen((socket) => void accept(new FrameStream(socket)));

  await expect(join(rogue.port, { proof: code(CODE) })).rejects.toMatchObject({
    code: "JOIN_PROOF_FAILED",
  });
  expect(seen.filter((frame) => frame !== undefined)).toMatchObject([{ type: "proof" }]);
});

test.each([
  ["no element", Buffer.alloc(32, 0xff).toString("base64")],
  ["the neutral element, which makes the key known", Buffer.alloc(32).toString("base64")],
])("a share that is %s is refused on both sides", async (_, share) => {
  await using port = await startPort({ code: openCode(() => port.seen) });
  await expect(exchange(port.port, [hello({ modes: ["code"], share })])).resolves.toMatchObject([{ type: "refused" }]);

  const { share: __, ...welcome } = (await exchange(port.port, [hello({ modes: ["code"], share: SHARE })]))[0] ?? {};
  await using rogue = await rawListen((socket) => void answer(new FrameStream(socket), { ...welcome, share }));
  await expect(join(rogue.port, { proof: code(CODE) })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
});

test("reflection and cloned disk: whoever shows our own key is not listened to, on either side", async () => {
  await using port = await startPort();

  await expect(join(port.port, {}, port.self)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  await expect(exchange(port.port, [hello()], port.self)).resolves.toEqual([]);
});

test("reflection: what a joiner sends proves nothing when it is sent back", async () => {
  const seen: unknown[] = [];
  await using mirror = await rawListen((socket) => void reflect(new FrameStream(socket), seen));

  await expect(join(mirror.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(seen).toMatchObject([{ type: "hello" }]);
});

test("reflection: the responder's own proof is not taken for the joiner's", async () => {
  await using port = await startPort();
  const stream = new FrameStream(await rawDial(port.port));
  await stream.send(hello());
  const { proof } = (await stream.next()) as Frame;

  await stream.send({ type: "proof", proof });

  expect(await stream.next()).toMatchObject({ type: "refused", code: "JOIN_PROOF_FAILED" });
});

test("rogue advertiser: who answers at an address that it announced learns key, nonce and facts of the joiner, and no proof", async () => {
  const seen: unknown[] = [];
  const welcome = { type: "welcome", versions: [1], version: 1, mode: "secret", cluster: "lab-1" };
  await using rogue = await rawListen((socket) => {
    void answer(new FrameStream(socket), { ...welcome, nonce: bytes32(), proof: bytes32() }, seen);
  });

  await expect(join(rogue.port, { facts: { model: "x" } })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(seen).toEqual([
    { type: "hello", versions: [1], modes: ["secret"], nonce: expect.any(String), facts: { model: "x" } },
  ]);
});

/** Proves a machine by the secret; what it said in doing so. */
async function recordJoin(port: number, self: Machine): Promise<Frame[]> {
  const said: Frame[] = [];
  class Recorder extends FrameStream {
    override send(value: unknown): Promise<void> {
      said.push(value as Frame);
      return super.send(value);
    }
  }
  const socket = await rawDial(port, self);
  const session = { ...sessionOf(socket, self.spki), stream: new Recorder(socket) };
  await proveAsJoiner(session, { proof: { kind: "secret", secret: SECRET }, cluster: "lab-1", facts: {} });
  socket.destroy();
  return said;
}

/** Changes the frames of one type. */
function on(type: string, change: (frame: Frame) => Frame): (frame: Frame) => Frame {
  return (frame) => (frame["type"] === type ? change(frame) : frame);
}

/** Waits for a hello, answers with this frame and notes what else comes. */
async function answer(stream: FrameStream, frame: unknown, seen: unknown[] = []): Promise<void> {
  seen.push(await stream.next());
  await stream.send(frame);
  for (let more = await stream.next(); more !== undefined; more = await stream.next()) seen.push(more);
}

/** Sends back what comes. */
async function reflect(stream: FrameStream, seen: unknown[]): Promise<void> {
  for (let frame = await stream.next(); frame !== undefined; frame = await stream.next()) {
    seen.push(frame);
    await stream.send(frame);
  }
}

/** A relay that writes down what the joiner says. */
async function startTap(port: number, recorded: Frame[]) {
  const joiner = machine();
  const relay = await startRelay(port, (frame, way) => {
    if (way === "to responder") recorded.push(frame);
    return frame;
  });
  return { ...relay, joiner };
}

async function own(): Promise<ConnectionOptions> {
  return await joinTls(machine().pem);
}

/** A certificate for an elliptic curve that is not ours. */
async function p256(): Promise<ConnectionOptions> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=odd",
    keys,
    signingAlgorithm: algorithm,
  });
  const key = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" });
  return { key, cert: certificate.toString("pem") };
}
