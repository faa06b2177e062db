// SPDX-License-Identifier: Apache-2.0
/**
 * Counts the frames on the server's side of a WebSocket (RFC 6455 §5.2) without decoding them, so that a thousand
 * subscribers in one process cost the load generator less than what it measures.
 */

const TEXT = 1;
const PING = 9;

export class FrameCounter {
  readonly #onText: (payload: () => string) => void;
  readonly #onPing: () => void;
  #rest: Buffer = Buffer.alloc(0);

  constructor(onText: (payload: () => string) => void, onPing: () => void) {
    this.#onText = onText;
    this.#onPing = onPing;
  }

  /** Takes bytes as they arrive. A text frame counts when its last byte is there. */
  take(chunk: Buffer): void {
    let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    for (;;) {
      const head = headerOf(data);
      if (!head || data.length < head.length + head.payload) break;
      const end = head.length + head.payload;
      if (head.opcode === PING) this.#onPing();
      else if (head.opcode === TEXT) {
        const frame = data;
        this.#onText(() => frame.toString("utf8", head.length, end));
      }
      data = data.subarray(end);
    }
    this.#rest = data;
  }
}

function headerOf(data: Buffer): { opcode: number; length: number; payload: number } | undefined {
  if (data.length < 2) return undefined;
  const opcode = (data[0] ?? 0) & 15;
  const short = (data[1] ?? 0) & 127;
  if (short < 126) return { opcode, length: 2, payload: short };
  if (short === 126) return data.length < 4 ? undefined : { opcode, length: 4, payload: data.readUInt16BE(2) };
  return data.length < 10 ? undefined : { opcode, length: 10, payload: Number(data.readBigUInt64BE(2)) };
}
