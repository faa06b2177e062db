// SPDX-License-Identifier: Apache-2.0
/** The join protocol between honest machines: who gets in by which proof, who does not, and what each is told. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { dialJoin } from "@debvisor/shared/join/dial";
import { FrameStream } from "@debvisor/shared/join/frames";
import { selfSigned } from "@debvisor/shared/pki/authority";
import { expect, test } from "vitest";
import { freePorts } from "../../support/free-ports.ts";
import { CLUSTER, CODE, join, type Machine, machine, openCode, rawDial, rawListen, SECRET, startPort } from "./rig.ts";

const secret = (bytes: Buffer) => ({ kind: "secret", secret: bytes }) as const;
const code = (text: string) => ({ kind: "code", code: text }) as const;

test("with the right secret both ends know each other's key and talk", async () => {
  await using port = await startPort();
  const self = machine();

  const { channel, answer } = await join(port.port, {}, self);

  expect(answer).toEqual({ kind: "vote", message: { from: self.id } });
  expect(channel.cluster).toBe(CLUSTER);
  expect(channel.peer).toEqual({ id: port.self.id, spki: port.self.spki, proof: "secret" });
  expect(port.seen.peers).toEqual([{ id: self.id, spki: self.spki, proof: "secret" }]);
});

test("a joiner with another secret is not believed, and believes nobody", async () => {
  await using port = await startPort();

  await expect(join(port.port, { proof: secret(randomBytes(32)) })).rejects.toMatchObject({
    code: "JOIN_PROOF_FAILED",
  });
  expect(port.seen.peers).toEqual([]);
});

test("a joiner that goes on although the responder's proof is wrong is refused", async () => {
  await using port = await startPort();
  const socket = await rawDial(port.port);
  const stream = new FrameStream(socket);
  const nonce = randomBytes(32).toString("base64");

  await stream.send({ type: "hello", versions: [1], modes: ["secret"], nonce, facts: {} });
  expect(await stream.next()).toMatchObject({ type: "welcome", mode: "secret", cluster: CLUSTER });
  await stream.send({ type: "proof", proof: randomBytes(32).toString("base64") });

  expect(await stream.next()).toEqual({ type: "refused", code: "JOIN_PROOF_FAILED", versions: [1] });
  expect(await stream.next()).toBeUndefined();
  expect(port.seen.peers).toEqual([]);
});

test("another cluster than the one looked for is not joined, although it has the secret", async () => {
  await using port = await startPort();

  await expect(join(port.port, { cluster: "lab-2" })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(port.seen.peers).toEqual([]);
});

test("with the right code, however it is typed, a machine gets in, and the code is used up", async () => {
  await using port = await startPort({ code: openCode(() => port.seen) });
  const self = machine();
  const proof = code(" k7qf 2m9x\u2013pt ");

  const channel = await dialJoin({ host: "127.0.0.1", port: port.port, identityPem: self.pem, proof });
  channel.close();

  expect(channel).toMatchObject({ cluster: CLUSTER, peer: { id: port.self.id, proof: "code" } });
  expect(port.seen).toMatchObject({ spent: 1, used: [{ id: self.id, spki: self.spki, proof: "code" }] });
});

test("a code that somebody else has used meanwhile lets nobody in", async () => {
  await using port = await startPort({ code: openCode(() => port.seen), codeUsed: () => Promise.resolve(false) });

  await expect(join(port.port, { proof: code(CODE) })).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
  expect(port.seen.peers).toEqual([]);
});

test("without a code open nobody gets in by one, whatever else is open", async () => {
  await using port = await startPort();

  await expect(join(port.port, { proof: code(CODE) })).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
});

test("stolen preseed: while the secret is closed nobody gets in by it, and an open code is not touched", async () => {
  await using port = await startPort({ secret: () => undefined, code: openCode(() => port.seen) });

  await expect(join(port.port)).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
  expect(port.seen.spent).toBe(0);
});

test("members know each other by their keys", async () => {
  const self = machine();
  await using port = await startPort({ isMember: (id, spki) => id === self.id && spki === self.spki });
  const proof = { kind: "member", spkis: [machine().spki, port.self.spki] } as const;

  const { channel } = await join(port.port, { proof }, self);

  expect(channel.peer.proof).toBe("member");
  expect(port.seen.peers).toEqual([{ id: self.id, spki: self.spki, proof: "member" }]);
});

test.each([
  ["removed", false],
  ["unknown", undefined],
])("a key that is %s is no member's", async (_, verdict) => {
  await using port = await startPort({ isMember: () => verdict });
  const proof = { kind: "member", spkis: [port.self.spki] } as const;

  await expect(join(port.port, { proof })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(port.seen.peers).toEqual([]);
});

test("a member asks no machine whose key it does not expect, and says nothing to it", async () => {
  const heard: unknown[] = [];
  await using stranger = await rawListen((socket) => socket.on("data", (bytes) => heard.push(bytes)));
  const proof = { kind: "member", spkis: [machine().spki] } as const;

  await expect(join(stranger.port, { proof })).rejects.toMatchObject({ code: "JOIN_PROOF_FAILED" });
  expect(heard).toEqual([]);
});

test("a version that is not known here is refused, and both sides' versions are named", async () => {
  await using port = await startPort();
  const stream = new FrameStream(await rawDial(port.port));
  await stream.send({ type: "hello", versions: [2, 3], shape: "of a later version" });
  expect(await stream.next()).toEqual({ type: "refused", code: "JOIN_VERSION", versions: [1] });

  await using later = await rawListen((socket) => {
    void new FrameStream(socket).send({ type: "refused", code: "JOIN_VERSION", versions: [2, 3] });
  });
  await expect(join(later.port)).rejects.toMatchObject({
    code: "JOIN_VERSION",
    message: expect.stringMatching(/dvj\/2, dvj\/3.*dvj\/1/),
    details: { own: [1], peer: [2, 3] },
  });
});

test("clock skew at first boot: certificates that begin in 2090, or in the future of a clock that says 1970, join all the same", async () => {
  const [self, responder] = [machine(), machine()];
  const shown = async ({ pem }: Machine) => (await selfSigned(pem, new Date("2090-01-01T00:00:00Z"))).certificatePem;
  await using port = await startPort({ certificatePem: await shown(responder) }, responder);

  const { answer } = await join(port.port, { certificatePem: await shown(self) }, self);

  expect(answer.kind).toBe("vote");
});

test.each([
  ["short", randomBytes(31)],
  ["typed", Buffer.from("correct horse battery staple correct horse")],
  ["empty of chance", Buffer.alloc(32, 1)],
])("a secret that is %s is used on neither side", async (_, weak) => {
  await using port = await startPort({ secret: () => weak });

  await expect(join(port.port, { proof: secret(weak) })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(join(port.port)).rejects.toMatchObject({ code: "JOIN_MODE_REFUSED" });
});

test("an error of whoever answers comes back as itself, and one that is none of ours as internal", async () => {
  await using port = await startPort({
    handle: (_, message) => Promise.reject(message.kind === "vote" ? new Error("secret text") : undefined),
  });
  const dial = { host: "127.0.0.1", port: port.port, identityPem: machine().pem, proof: secret(SECRET) };
  const channel = await dialJoin(dial);
  const odd = { kind: "nonsense" } as never;

  await expect(channel.ask({ kind: "vote", message: 1 })).rejects.toMatchObject({
    code: "INTERNAL",
    message: expect.not.stringContaining("secret text"),
  });
  await expect(channel.ask(odd)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(channel.ask({ kind: "vote", message: "x".repeat(70_000) })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  channel.close();
  await expect(channel.ask({ kind: "vote", message: 1 })).rejects.toMatchObject({ code: "JOIN_UNREACHABLE" });
});

test("questions that are asked at once are answered in turn, large answers and late ones included", async () => {
  let running = 0;
  let most = 0;
  await using port = await startPort({
    handle: async (_, message) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) =>
        setTimeout(resolve, message.kind === "vote" && message.message === "late" ? 300 : 1),
      );
      running--;
      return { kind: "vote", message: [message, "x".repeat(200_000)] };
    },
  });
  const channel = await dialJoin({ ...target(port.port), proof: secret(SECRET) });

  const late = channel.ask({ kind: "vote", message: "late" }, 50);
  const asked = [1, 2, 3].map((message) => channel.ask({ kind: "vote", message }));

  await expect(late).rejects.toMatchObject({ code: "TIMEOUT" });
  for (const [at, answer] of (await Promise.all(asked)).entries())
    expect(answer).toMatchObject({ message: [{ message: at + 1 }, expect.any(String)] });
  expect(most).toBe(1);
  channel.close();
});

test("nobody there, a machine that says nothing, and a call that is given up are unreachable and not unproved", async () => {
  const [free = 0] = await freePorts(1);
  await using dumb = await rawListen(() => undefined);
  const nobody = join(free);
  const given = join(dumb.port, { signal: AbortSignal.timeout(50) });
  const silent = join(dumb.port, { timeoutMs: 50 });

  const ends = await Promise.allSettled([nobody, given, silent]);

  const unreachable = { status: "rejected", reason: { code: "JOIN_UNREACHABLE" } };
  expect(ends).toMatchObject([unreachable, unreachable, unreachable]);
});

test("a port that stops ends within a second, and so does what was asked of it", async () => {
  const port = await startPort({ handle: () => new Promise(() => undefined) });
  const channel = await dialJoin({ ...target(port.port), proof: secret(SECRET) });
  const half = connectTcp(port.port, "127.0.0.1");
  await once(half, "connect");
  const open = channel.ask({ kind: "vote", message: 1 });
  open.catch(() => undefined);

  const began = performance.now();
  await Promise.all([port.stop(), port.stop()]);

  expect(performance.now() - began).toBeLessThan(1_000);
  await expect(open).rejects.toMatchObject({ code: "JOIN_UNREACHABLE" });
  half.destroy();
});

test("the port listens on both families, and says so when somebody else has it", async () => {
  await using port = await startPort({ host: "::" });

  for (const host of ["127.0.0.1", "::1"]) expect((await join(port.port, { host })).answer.kind).toBe("vote");
  await expect(startPort({ host: "::", port: port.port })).rejects.toMatchObject({ code: "PORT_BUSY" });
  await expect(startPort({ host: "192.0.2.1" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

function target(port: number) {
  return { host: "127.0.0.1", port, identityPem: machine().pem };
}
