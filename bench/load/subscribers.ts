// SPDX-License-Identifier: Apache-2.0
/** Many WebSocket subscribers in one process, on bare sockets. */
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { answerParent } from "../child.ts";
import { inParallel } from "../parallel.ts";
import { FrameCounter } from "./frame-counter.ts";

/** Where to subscribe. `waitFor`: text that a frame must hold before a subscriber counts as ready. */
export interface SubscriberLoad {
  readonly url: string;
  readonly count: number;
  readonly token?: string;
  readonly waitFor?: string;
}

/** What arrived. */
export interface SubscriberFigures {
  /** From the first frame that any subscriber got to the last one. */
  readonly ms: number;
  readonly frames: number;
  /** Text of one frame. */
  readonly sample: string;
  /** Subscribers that did not get exactly the expected number. */
  readonly wrong: number;
}

const CONNECTING_AT_ONCE = 50;
const DEADLINE_MS = 60_000;
/** A masked pong without payload. */
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);

interface Run {
  readonly counts: Uint32Array;
  readonly perSubscriber: number;
  total: number;
  first: number;
  sample: string;
  end: () => void;
}

let run: Run | undefined;
let figures: Promise<SubscriberFigures> | undefined;
let subscribers = 0;

function onFrame(index: number, payload: () => string): void {
  if (!run) return;
  if (run.total++ === 0) {
    run.first = performance.now();
    run.sample = payload();
  }
  run.counts[index] = (run.counts[index] ?? 0) + 1;
  if (run.total === run.perSubscriber * subscribers) run.end();
}

function subscribe({ url, token, waitFor }: SubscriberLoad, index: number): Promise<void> {
  const { hostname, port, pathname, search } = new URL(url);
  const ready = Promise.withResolvers<void>();
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  let open = false;
  const frames = new FrameCounter(
    (payload) => {
      if (open) onFrame(index, payload);
      else if (waitFor !== undefined && payload().includes(waitFor)) {
        open = true;
        ready.resolve();
      }
    },
    () => socket.write(PONG),
  );
  socket.on("error", ready.reject);
  socket.on("close", () => ready.reject(new Error("the server closed a subscriber's connection")));
  upgrade(
    socket,
    `${pathname}${search}`,
    token,
    (rest) => {
      if (waitFor === undefined) {
        open = true;
        ready.resolve();
      }
      frames.take(rest);
      socket.on("data", (chunk: Buffer) => frames.take(chunk));
    },
    ready.reject,
  );
  return ready.promise;
}

/** Sends the request and reads the answer's head; `onOpen` gets the bytes after it. */
function upgrade(
  socket: Socket,
  path: string,
  token: string | undefined,
  onOpen: (rest: Buffer) => void,
  onRefused: (error: Error) => void,
): void {
  const key = randomBytes(16).toString("base64");
  const lines = [
    `GET ${path} HTTP/1.1`,
    "Host: bench",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  let head = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    socket.off("data", onData);
    if (head.toString("latin1", 0, 12) === "HTTP/1.1 101") onOpen(head.subarray(end + 4));
    else onRefused(new Error(head.toString("utf8").slice(0, 500)));
  };
  socket.on("data", onData);
}

answerParent({
  connect: async (load: SubscriberLoad) => {
    subscribers = load.count;
    await inParallel(
      Array.from({ length: load.count }, (_, i) => i),
      CONNECTING_AT_ONCE,
      (index) => subscribe(load, index),
    );
  },
  /** Starts to count frames; done once it is answered, so that no frame comes before it. */
  arm: (perSubscriber: number): void => {
    const { promise, resolve } = Promise.withResolvers<SubscriberFigures>();
    const end = () => {
      clearTimeout(timer);
      const done = run;
      run = undefined;
      if (!done) return;
      const wrong = done.counts.filter((count) => count !== perSubscriber).length;
      resolve({ ms: performance.now() - done.first, frames: done.total, sample: done.sample, wrong });
    };
    const timer = setTimeout(end, DEADLINE_MS);
    run = {
      counts: new Uint32Array(subscribers),
      perSubscriber,
      total: 0,
      first: performance.now(),
      sample: "",
      end,
    };
    figures = promise;
  },
  /** What was counted, when every subscriber has so many frames, or at the deadline. */
  figures: (): Promise<SubscriberFigures> => {
    if (!figures) throw new Error("nothing is counted");
    return figures;
  },
});
