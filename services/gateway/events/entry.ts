// SPDX-License-Identifier: Apache-2.0
/** An event on its way to subscribers. Its text and its frames are made once, whoever receives them. */
import { EventEnvelope } from "@debvisor/proto-events/replies";
import type { StoredEvent } from "@debvisor/shared/bus/bus";
import type { EventKey } from "../model/event-query.ts";
import type { Sequenced } from "../model/ring.ts";
import { textFrame } from "../model/ws-frame.ts";

/** How a subscriber is connected. */
export type Wire = "websocket" | "sse";

export class EventEntry implements Sequenced, EventKey {
  readonly seq: number;
  readonly timeMs: number;
  readonly type: string;
  readonly origin: string;
  /** JSON of the event frame; undefined for a stored message that is no event. */
  readonly text: string | undefined;
  #websocket: Buffer | undefined;
  #sse: Buffer | undefined;

  constructor(event: StoredEvent) {
    this.seq = event.seq;
    this.timeMs = event.timeMs;
    this.type = event.type;
    this.origin = event.origin;
    this.text = frameText(event);
  }

  get bytes(): number {
    return 200 + 2 * (this.text?.length ?? 0);
  }

  /** The bytes for one kind of subscriber. */
  frame(wire: Wire): Buffer {
    const text = this.text ?? "";
    if (wire === "websocket") {
      this.#websocket ??= textFrame(text);
      return this.#websocket;
    }
    this.#sse ??= Buffer.from(`id: ${this.seq}\nevent: message\ndata: ${text}\n\n`);
    return this.#sse;
  }
}

/** The bytes of a control frame. `seq` becomes the id that a browser sends when it comes back. */
export function controlFrame(wire: Wire, json: string, seq?: number): Buffer {
  if (wire === "websocket") return textFrame(json);
  return Buffer.from(`${seq === undefined ? "" : `id: ${seq}\n`}event: control\ndata: ${json}\n\n`);
}

/** The bytes of a telemetry frame. */
export function telemetryFrame(wire: Wire, json: string): Buffer {
  return wire === "websocket" ? textFrame(json) : Buffer.from(`event: telemetry\ndata: ${json}\n\n`);
}

/**
 * A node may store any bytes under its own subjects, so the text is checked before it goes into a frame: it must be an
 * envelope of the origin and type that the subject says.
 */
function frameText({ json, origin, type, seq }: StoredEvent): string | undefined {
  let parsed: ReturnType<typeof EventEnvelope.safeParse>;
  try {
    const value: unknown = JSON.parse(json);
    parsed = EventEnvelope.safeParse(value);
    if (!parsed.success || parsed.data.source !== origin || parsed.data.type !== type) return undefined;
    const plain =
      json.startsWith("{") &&
      json.endsWith("}") &&
      !json.includes("\n") &&
      !json.includes("\r") &&
      !Object.hasOwn(value as object, "seq");
    return plain ? `${json.slice(0, -1)},"seq":${seq}}` : JSON.stringify({ ...parsed.data, seq });
  } catch {
    return undefined;
  }
}
