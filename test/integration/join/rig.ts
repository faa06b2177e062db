// SPDX-License-Identifier: Apache-2.0
/** A join port on loopback, joiners, and the tools of whoever attacks them. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect as connectTcp } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { type DialOptions, dialJoin } from "@debvisor/shared/join/dial";
import { FrameStream } from "@debvisor/shared/join/frames";
import { type ListenerOptions, startJoinListener } from "@debvisor/shared/join/listener";
import type { OpenCode } from "@debvisor/shared/join/prove-responder";
import { joinTls, type Peer } from "@debvisor/shared/join/session";
import { silentLogger } from "@debvisor/shared/log";
import { createIdentity } from "@debvisor/shared/node-files";
import { spkiHashOf } from "@debvisor/shared/pki/certificate";

export const CLUSTER = "lab-1";
export const SECRET = randomBytes(32);
export const CODE = "K7QF-2M9X-PT";

/** A machine that can take part. */
export interface Machine {
  readonly id: string;
  readonly pem: string;
  readonly spki: string;
}

/** A machine with a new identity. */
export function machine(): Machine {
  const { id, pem } = createIdentity();
  return { id, pem, spki: spkiHashOf(pem) };
}

/** What a join port saw. */
export interface Seen {
  readonly peers: Peer[];
  /** Peers whose code was right. */
  readonly used: Peer[];
  spent: number;
}

/** A join port that repeats what it is asked, open by secret unless told otherwise. */
export async function startPort(change: Partial<ListenerOptions> = {}, self = machine()) {
  const seen: Seen = { peers: [], used: [], spent: 0 };
  const listener = await startJoinListener({
    host: "127.0.0.1",
    port: 0,
    identityPem: self.pem,
    cluster: CLUSTER,
    log: silentLogger(),
    secret: () => SECRET,
    code: () => Promise.resolve(undefined),
    words: () => Promise.resolve(false),
    codeUsed: (peer) => Promise.resolve(seen.used.push(peer) > 0),
    isMember: () => undefined,
    handle: (peer, message) => {
      seen.peers.push(peer);
      return Promise.resolve({ kind: "vote", message: message.kind === "vote" ? message.message : undefined });
    },
    limits: { burst: 1_000 },
    ...change,
  });
  return {
    self,
    seen,
    port: listener.port,
    stop: listener.stop,
    [Symbol.asyncDispose]: () => listener.stop(),
  };
}

/** A code that may be tried three times, and what counts the tries. */
export function openCode(seen: () => Seen, tries = 3, code = CODE): () => Promise<OpenCode | undefined> {
  let left = tries;
  const spend = () => {
    seen().spent++;
    return Promise.resolve(left-- > 0);
  };
  return () => Promise.resolve(left > 0 ? { code, spend } : undefined);
}

/** Calls a port with the right secret unless told otherwise, and asks for an echo. */
export async function join(port: number, change: Partial<DialOptions> = {}, self = machine()) {
  const proof = { kind: "secret", secret: SECRET } as const;
  const channel = await dialJoin({
    host: "127.0.0.1",
    port,
    identityPem: self.pem,
    cluster: CLUSTER,
    proof,
    ...change,
  });
  try {
    return { channel, answer: await channel.ask({ kind: "vote", message: { from: self.id } }) };
  } finally {
    channel.close();
  }
}

/** A TLS connection to a port, without the protocol. */
export async function rawDial(port: number, self = machine(), localAddress = "127.0.0.1"): Promise<TLSSocket> {
  const tls = await joinTls(self.pem);
  const raw = connectTcp({ host: "127.0.0.1", port, localAddress });
  raw.on("error", () => undefined);
  const socket = connect({ socket: raw, ...tls, rejectUnauthorized: false });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}

/** A TLS server with a machine's key, without the protocol. */
export async function rawListen(serve: (socket: TLSSocket) => void, self = machine()) {
  const tls = await joinTls(self.pem);
  const sockets = new Set<TLSSocket>();
  const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const dispose = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    return Promise.resolve();
  };
  return { port: (server.address() as AddressInfo).port, self, [Symbol.asyncDispose]: dispose };
}

/** A frame as it is on the wire, for looking at and for changing. */
export type Frame = Record<string, unknown>;

/** Which way a frame goes. */
export type Way = "to responder" | "to joiner";

/**
 * Somebody in the middle: ends TLS on both sides, with keys of its own or stolen ones, and passes the frames on, after `edit` had
 * them. What it has seen is in `frames`.
 */
export async function startRelay(
  target: number,
  edit: (frame: Frame, way: Way) => Frame = (frame) => frame,
  keys: { readonly asResponder?: Machine; readonly asJoiner?: Machine } = {},
) {
  const frames: { readonly way: Way; readonly frame: Frame }[] = [];
  const pass = async (from: FrameStream, to: FrameStream, way: Way) => {
    for (let frame = await from.next(); frame !== undefined; frame = await from.next()) {
      frames.push({ way, frame: frame as Frame });
      await to.send(edit(structuredClone(frame) as Frame, way));
    }
    to.destroy();
  };
  const relay = await rawListen((near) => {
    void rawDial(target, keys.asJoiner).then((far) => {
      near.once("close", () => far.destroy());
      const [joiner, responder] = [new FrameStream(near), new FrameStream(far)];
      void pass(joiner, responder, "to responder");
      void pass(responder, joiner, "to joiner");
    });
  }, keys.asResponder);
  return { ...relay, frames };
}

/** A share that is an element of the group. */
export const SHARE = Buffer.from("d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157", "hex").toString(
  "base64",
);

/** 32 random bytes as they travel. */
export const bytes32 = () => randomBytes(32).toString("base64");

/** A hello that is in order, unless changed. */
export const hello = (more: Frame = {}) => ({
  type: "hello",
  versions: [1],
  modes: ["secret"],
  nonce: bytes32(),
  facts: {},
  ...more,
});

/** Sends frames one after the other and collects what comes back until the connection ends. */
export async function exchange(port: number, frames: readonly unknown[], self = machine()): Promise<Frame[]> {
  const socket = await rawDial(port, self);
  const stream = new FrameStream(socket);
  const answers: Frame[] = [];
  for (const frame of frames) {
    await stream.send(frame);
    const answer = await stream.next();
    if (answer === undefined) break;
    answers.push(answer as Frame);
  }
  socket.destroy();
  return answers;
}
