// SPDX-License-Identifier: Apache-2.0
/**
 * Frames of the join protocol: four bytes of length (big-endian), then one JSON value in UTF-8. Who sends them may be anybody, so a
 * length above the limit ends the connection before a byte of it is kept, and nothing is read that was not asked for.
 */
import type { Duplex } from "node:stream";
import { DvError } from "../errors.ts";

/** Most bytes of a frame before the proof, in either direction. */
export const UNPROVED_FRAME_BYTES = 4 * 1024;
/** Most bytes of a frame that a proved joiner may send. */
export const ASK_FRAME_BYTES = 64 * 1024;
/** Most bytes of a frame that a proved responder may send: an admission carries trust, certificates and secrets. */
export const ANSWER_FRAME_BYTES = 256 * 1024;

const HEAD_BYTES = 4;

/** Writes a value as one frame. @throws INVALID_ARGUMENT when it has more bytes than `limit` or no JSON */
export function encodeFrame(value: unknown, limit: number): Buffer {
  const text = JSON.stringify(value);
  const length = text === undefined ? 0 : Buffer.byteLength(text);
  if (text === undefined || length > limit)
    throw new DvError(
      "INVALID_ARGUMENT",
      `A message on the join port has ${length} bytes; at most ${limit} are allowed.`,
    );
  const frame = Buffer.allocUnsafe(HEAD_BYTES + length);
  frame.writeUInt32BE(length);
  frame.write(text, HEAD_BYTES);
  return frame;
}

/** Takes frames out of a stream of bytes, whatever pieces it comes in. After an error nothing more can be taken. */
export class FrameDecoder {
  /** Most bytes of the next frame whose length has not been read yet. */
  limit: number;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #body: Buffer | undefined;
  #filled = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Adds bytes. Call `take` until it returns undefined before adding more, so that no more than one piece is kept. */
  push(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
  }

  /** The next value, undefined when its last byte has not come yet. @throws MALFORMED_REPLY for a length or text out of range */
  take(): unknown {
    if (!this.#body) {
      if (!this.#fill(this.#head)) return undefined;
      const length = this.#head.readUInt32BE();
      if (length === 0 || length > this.limit)
        throw new DvError("MALFORMED_REPLY", `A frame of ${length} bytes came; 1 to ${this.limit} are allowed.`);
      this.#body = Buffer.allocUnsafe(length);
      this.#filled = 0;
    }
    if (!this.#fill(this.#body)) return undefined;
    const body = this.#body;
    this.#body = undefined;
    this.#filled = 0;
    return parse(body);
  }

  /** Moves bytes into `target`; whether it is full. */
  #fill(target: Buffer): boolean {
    const moved = this.#rest.copy(target, this.#filled);
    this.#filled += moved;
    this.#rest = this.#rest.subarray(moved);
    return this.#filled === target.length;
  }
}

/** The frames of one connection. Reads only when asked to, so a peer cannot fill memory ahead of us. */
export class FrameStream {
  readonly #socket: Duplex;
  readonly #decoder: FrameDecoder;
  readonly #chunks: AsyncIterator<Buffer>;
  #sendLimit: number;

  constructor(socket: Duplex) {
    this.#socket = socket;
    this.#decoder = new FrameDecoder(UNPROVED_FRAME_BYTES);
    this.#sendLimit = UNPROVED_FRAME_BYTES;
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** After the proof: the limits of what is sent and of what is received from now on, bytes. */
  widen(limits: { readonly send: number; readonly receive: number }): void {
    this.#sendLimit = limits.send;
    this.#decoder.limit = limits.receive;
  }

  /** The next value; undefined when the connection has ended. One call at a time. @throws MALFORMED_REPLY */
  async next(): Promise<unknown> {
    for (;;) {
      const value = this.#decoder.take();
      if (value !== undefined) return value;
      const chunk = await this.#chunk();
      if (!chunk) return undefined;
      this.#decoder.push(chunk);
    }
  }

  /** Sends a value; resolves when it is on its way or the connection has ended. @throws INVALID_ARGUMENT when it is too large */
  async send(value: unknown): Promise<void> {
    const frame = encodeFrame(value, this.#sendLimit);
    if (!this.#socket.writable) return;
    await new Promise<void>((resolve) => this.#socket.write(frame, () => resolve()));
  }

  /** Ends the connection at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #chunk(): Promise<Buffer | undefined> {
    try {
      const { value, done } = await this.#chunks.next();
      return done ? undefined : value;
    } catch {
      // A connection that was cut is one that has ended.
      return undefined;
    }
  }
}

function parse(body: Buffer): unknown {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    // Undefined is the sign that nothing has come; JSON has none, and null is no message either.
    if (typeof value === "object" && value !== null) return value;
  } catch (error) {
    throw new DvError("MALFORMED_REPLY", "A frame holds no JSON.", { cause: error });
  }
  throw new DvError("MALFORMED_REPLY", "A frame holds no JSON object.");
}
