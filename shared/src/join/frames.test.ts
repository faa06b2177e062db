// SPDX-License-Identifier: Apache-2.0
/** Frames come out as they went in, whatever pieces they travel in; anything else is our own error and keeps no memory. */
import { PassThrough } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DvError } from "../errors.ts";
import { encodeFrame, FrameDecoder, FrameStream } from "./frames.ts";

const LIMIT = 4096;

/** Everything that comes out of these pieces; a decoder that throws ends the list with its error code. */
function decode(pieces: readonly Uint8Array[], limit = LIMIT): unknown[] {
  const decoder = new FrameDecoder(limit);
  const out: unknown[] = [];
  try {
    for (const piece of pieces) {
      decoder.push(Buffer.from(piece));
      for (let value = decoder.take(); value !== undefined; value = decoder.take()) out.push(value);
    }
  } catch (error) {
    out.push(error instanceof DvError ? error.code : error);
  }
  return out;
}

/** Cuts `bytes` after each of these lengths in turn. */
function cut(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

test("any objects, cut into any pieces, come out as they went in", () => {
  const value = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 5 });
  fc.assert(
    fc.property(
      fc.array(value, { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }),
      (values, lengths) => {
        const expected = values.map((one) => JSON.parse(JSON.stringify(one)));
        const bytes = Buffer.concat(values.map((one) => encodeFrame(one, 1_000_000)));

        expect(decode(cut(bytes, lengths), 1_000_000)).toEqual(expected);
      },
    ),
    { numRuns: 300 },
  );
});

test("random bytes give values, nothing, or our own error, never another", () => {
  const small = fc
    .uint8Array({ maxLength: 40 })
    .map((body) => Buffer.concat([Buffer.from([0, 0, 0, body.length]), body]));
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.uint8Array({ maxLength: 200 }), small), { maxLength: 8 }), (pieces) => {
      for (const one of decode(pieces)) expect(one === "MALFORMED_REPLY" || typeof one === "object").toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

const frame = (body: string | Buffer, length = Buffer.byteLength(body)) => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(length);
  return Buffer.concat([head, Buffer.from(body)]);
};

test.each<[string, Buffer]>([
  ["a length of zero", frame("")],
  ["a length one above the limit", frame("{", LIMIT + 1)],
  ["the largest length", frame("{", 0xffff_ffff)],
  ["no JSON", frame("{]")],
  ["no UTF-8", frame(Buffer.from([0x22, 0xff, 0x22]))],
  ["half a surrogate", frame(Buffer.from([0x7b, 0xed, 0xa0, 0x80, 0x7d]))],
  ["a number", frame("7")],
  ["null", frame("null")],
  ["a text", frame('"hello"')],
  ["brackets as deep as fit", frame("[".repeat(LIMIT))],
  ["two values", frame("{}{}")],
])("%s is refused", (_, bytes) => {
  expect(decode([bytes])).toEqual(["MALFORMED_REPLY"]);
});

test("a frame of exactly the limit is taken, one byte more is not sent", () => {
  const value = { a: "x".repeat(LIMIT - 8) };

  expect(decode([encodeFrame(value, LIMIT)])).toEqual([value]);
  expect(() => encodeFrame(value, LIMIT - 1)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(() => encodeFrame(undefined, LIMIT)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});

test("a limit that is widened counts from the next frame on", () => {
  const decoder = new FrameDecoder(10);
  decoder.push(Buffer.concat([encodeFrame({ a: 1 }, 10), encodeFrame({ a: "x".repeat(20) }, 100)]));

  expect(decoder.take()).toEqual({ a: 1 });
  decoder.limit = 100;
  expect(decoder.take()).toEqual({ a: "x".repeat(20) });
});

test("a stream reads no further than it is asked to", async () => {
  const wire = new PassThrough({ highWaterMark: 1024 });
  const stream = new FrameStream(wire);
  wire.write(encodeFrame({ a: 1 }, LIMIT));

  expect(await stream.next()).toEqual({ a: 1 });
  while (wire.write(encodeFrame({ pad: "x".repeat(100) }, LIMIT)));
  await new Promise((resolve) => setImmediate(resolve));

  expect(wire.writableNeedDrain).toBe(true);
  expect(await stream.next()).toEqual({ pad: "x".repeat(100) });
});

test("a stream that ends, in the midst of a frame or not, gives nothing more", async () => {
  const wire = new PassThrough();
  const stream = new FrameStream(wire);
  wire.end(encodeFrame({ a: 1 }, LIMIT).subarray(0, 6));

  expect(await stream.next()).toBeUndefined();
  wire.destroy();
  expect(await stream.next()).toBeUndefined();
  await stream.send({ a: 1 });
});
