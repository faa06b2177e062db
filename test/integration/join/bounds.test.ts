// SPDX-License-Identifier: Apache-2.0
/** What anybody may send to the join port is bounded in form, size and time, and so is what a proved machine may hold. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { dialJoin } from "@debvisor/shared/join/dial";
import { encodeFrame, FrameStream } from "@debvisor/shared/join/frames";
import type { JoinAnswer } from "@debvisor/shared/join/messages";
import { proveAsJoiner } from "@debvisor/shared/join/prove-joiner";
import { sessionOf } from "@debvisor/shared/join/session";
import fc from "fast-check";
import { expect, test } from "vitest";
import { bytes32, exchange, hello, join, machine, openCode, rawDial, rawListen, SECRET, startPort } from "./rig.ts";

/** The text itself, because `__proto__` in an object literal is something else. */
const POLLUTED = JSON.stringify(hello()).replace('"facts":{}', '"facts":{"__proto__":{"polluted":true}}');

test.each<[string, readonly unknown[]]>([
  ["a question before the proof", [{ type: "ask", id: 0, message: { kind: "vote", message: 1 } }]],
  ["a question instead of the proof", [hello(), { type: "ask", id: 0, message: { kind: "vote", message: 1 } }]],
  ["a proof before the hello", [{ type: "proof", proof: bytes32() }]],
  ["a second hello", [hello(), hello()]],
  ["a proof that is too short", [hello(), { type: "proof", proof: "AAAA" }]],
  ["a hello without nonce", [hello({ nonce: undefined })]],
  ["a nonce of another length", [hello({ nonce: randomBytes(31).toString("base64") })]],
  ["an unknown field", [hello({ admin: true })]],
  ["facts that are deep", [hello({ facts: { a: { b: {} } } })]],
  ["facts that have no canonical JSON", [hello({ facts: { a: "\ud800" } })]],
  ["facts with __proto__", [JSON.parse(POLLUTED), hello()]],
  ["no versions", [hello({ versions: [] })]],
  ["a mode that is none", [hello({ modes: ["none"] })]],
  ["a code without a share", [hello({ modes: ["code"] })]],
])("odd frames: %s lets nobody in", async (_, frames) => {
  await using port = await startPort({ code: openCode(() => port.seen) });

  const answers = await exchange(port.port, frames);

  expect(answers.at(-1)).toMatchObject({ type: "refused" });
  expect(port.seen).toMatchObject({ peers: [], spent: 0 });
  expect("polluted" in {}).toBe(false);
});

test("a frame above 4 KiB before the proof ends the connection by its length alone", async () => {
  await using port = await startPort();
  const socket = await rawDial(port.port);
  const stream = new FrameStream(socket);

  socket.write(encodeFrame(hello({ facts: { a: "x".repeat(5_000) } }), 10_000).subarray(0, 4));

  expect(await stream.next()).toMatchObject({ type: "refused", code: "JOIN_PROOF_FAILED" });
  expect(await stream.next()).toBeUndefined();
});

test("a frame above 4 KiB of a responder that has proved nothing ends the attempt", async () => {
  const large = encodeFrame({ type: "welcome", pad: "x".repeat(5_000) }, 10_000);
  await using rogue = await rawListen((socket) => socket.write(large));

  await expect(join(rogue.port)).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
});

test("a proved joiner may send 64 KiB at once and no more, and nothing but questions", async () => {
  await using port = await startPort();
  const vote = (length: number) => ({ type: "ask", id: 1, message: { kind: "vote", message: "x".repeat(length) } });
  const prove = async () => {
    const self = machine();
    const socket = await rawDial(port.port, self);
    const session = sessionOf(socket, self.spki);
    await proveAsJoiner(session, { proof: { kind: "secret", secret: SECRET }, cluster: "lab-1", facts: {} });
    session.stream.widen({ send: 1_000_000, receive: 1_000_000 });
    return session.stream;
  };
  const [within, above, odd] = await Promise.all([prove(), prove(), prove()]);

  await within.send(vote(65_000));
  await above.send(vote(66_000));
  await odd.send({ type: "answer", id: 1, answer: {} });

  expect(await within.next()).toMatchObject({ type: "answer", id: 1 });
  expect(await above.next()).toBeUndefined();
  expect(await odd.next()).toBeUndefined();
  within.destroy();
});

test("a proved responder may answer with 256 KiB; more is an error of its own, and so is an answer that is none", async () => {
  const answers: unknown[] = [
    { kind: "vote", message: "x".repeat(260_000) },
    { kind: "vote", message: "x".repeat(270_000) },
    7,
  ];
  await using port = await startPort({ handle: () => Promise.resolve(answers.shift() as JoinAnswer) });
  const proof = { kind: "secret", secret: SECRET } as const;
  const channel = await dialJoin({ host: "127.0.0.1", port: port.port, identityPem: machine().pem, proof });
  const ask = () => channel.ask({ kind: "vote", message: 1 });

  await expect(ask()).resolves.toMatchObject({ kind: "vote" });
  await expect(ask()).rejects.toMatchObject({ code: "INTERNAL" });
  await expect(ask()).rejects.toMatchObject({ code: "MALFORMED_REPLY" });
  channel.close();
});

test("random bytes, with and without TLS, are answered by nothing but a refusal, and the port lives on", async () => {
  await using port = await startPort();
  const piece = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 100 }),
    fc.jsonValue().map((value) => encodeFrame({ value }, 100_000)),
    fc.record({ type: fc.constantFrom("hello", "proof", "ask", "welcome") }).map((value) => encodeFrame(value, 1_000)),
  );

  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 4 }), fc.boolean(), async (pieces, secured) => {
      const socket = secured ? await rawDial(port.port) : connectTcp(port.port, "127.0.0.1");
      socket.on("error", () => undefined);
      const stream = new FrameStream(socket);
      for (const one of pieces) socket.write(one);
      socket.end();
      const answer = secured ? await stream.next() : undefined;
      if (answer !== undefined) expect(answer).toMatchObject({ type: "refused" });
      socket.destroy();
    }),
    { numRuns: 100 },
  );

  expect((await join(port.port)).answer.kind).toBe("vote");
  expect(port.seen.peers).toHaveLength(1);
});

test.each<[string, (port: number) => Promise<unknown>]>([
  ["says nothing at all", (port) => closed(connectTcp(port, "127.0.0.1"))],
  ["stops after TLS", async (port) => await new FrameStream(await rawDial(port)).next()],
  ["sends its hello byte by byte", drip],
])("a connection that %s ends at its limit", async (_, begin) => {
  await using port = await startPort({ limits: { proofMs: 400, burst: 100 } });
  const began = performance.now();

  await begin(port.port);

  expect(performance.now() - began).toBeGreaterThan(300);
  expect(performance.now() - began).toBeLessThan(5_000);
});

test("a proved connection that is silent ends too, and one that speaks does not", async () => {
  await using port = await startPort({ limits: { idleMs: 1_000, burst: 100 } });
  const proof = { kind: "secret", secret: SECRET } as const;
  const dial = () => dialJoin({ host: "127.0.0.1", port: port.port, identityPem: machine().pem, proof });
  const [silent, busy] = await Promise.all([dial(), dial()]);

  for (let turn = 0; turn < 6; turn++) {
    await busy.ask({ kind: "vote", message: turn });
    await new Promise((resolve) => setTimeout(resolve, 250));
  }

  await expect(busy.ask({ kind: "vote", message: "still" })).resolves.toMatchObject({ message: "still" });
  await expect(silent.ask({ kind: "vote", message: 1 })).rejects.toMatchObject({ code: "JOIN_UNREACHABLE" });
  busy.close();
});

test("who has proved itself keeps its connection however many come who have not", async () => {
  await using port = await startPort({ limits: { unproved: 2, burst: 100 } });
  const proof = { kind: "secret", secret: SECRET } as const;
  const channel = await dialJoin({ host: "127.0.0.1", port: port.port, identityPem: machine().pem, proof });

  const others = Array.from({ length: 6 }, () => connectTcp(port.port, "127.0.0.1"));
  await Promise.all(others.map((socket) => once(socket, "connect")));
  for (const socket of others) socket.on("error", () => undefined);

  await expect(channel.ask({ kind: "vote", message: 1 })).resolves.toMatchObject({ message: 1 });
  channel.close();
  for (const socket of others) socket.destroy();
});

test("proved connections are bounded; the oldest goes first", async () => {
  await using port = await startPort({ limits: { proved: 2, burst: 100 } });
  const proof = { kind: "secret", secret: SECRET } as const;
  const channels = [];
  for (let i = 0; i < 3; i++)
    channels.push(await dialJoin({ host: "127.0.0.1", port: port.port, identityPem: machine().pem, proof }));

  const asked = await Promise.allSettled(channels.map((channel) => channel.ask({ kind: "vote", message: 1 })));

  expect(asked.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled"]);
  for (const channel of channels) channel.close();
});

async function drip(port: number): Promise<void> {
  const socket = await rawDial(port);
  const bytes = encodeFrame(hello(), 4_096);
  let at = 0;
  const timer = setInterval(() => socket.write(bytes.subarray(at, ++at)), 30);
  await closed(socket);
  clearInterval(timer);
}

/** Resolves when a connection has ended, cut or not. */
function closed(socket: Socket): Promise<void> {
  socket.on("error", () => undefined);
  return new Promise((resolve) => socket.once("close", () => resolve()));
}
