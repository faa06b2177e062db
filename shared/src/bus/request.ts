// SPDX-License-Identifier: Apache-2.0
/** One request, one answer. */
import { randomUUID } from "node:crypto";
import { rpcSubject } from "@debvisor/proto-events/subjects";
import type { MsgHdrs, NatsConnection } from "@nats-io/nats-core";
import { DvError, fromWire } from "../errors.ts";
import type { CallOptions } from "./bus.ts";
import { endOfTurn } from "./turn.ts";
import { busError, parseReply, requestHeaders } from "./wire.ts";

/**
 * Sends a request and returns the JSON text of the answer's data. `seal` may add headers that depend on the payload's bytes.
 * @throws the peer's error, UNAVAILABLE, TIMEOUT, BUS_UNAVAILABLE
 */
export async function requestText(
  connection: NatsConnection,
  address: { readonly target: string; readonly service: string; readonly wire: string },
  input: unknown,
  options: CallOptions & { timeoutMs: number },
  seal?: (headers: MsgHdrs, payload: Uint8Array) => void,
): Promise<string> {
  const subject = rpcSubject(address.target, address.service, address.wire);
  const headers = requestHeaders({ ...options, requestId: options.requestId ?? randomUUID() });
  let text: string;
  try {
    await endOfTurn();
    const payload = new TextEncoder().encode(JSON.stringify(input));
    seal?.(headers, payload);
    const reply = await connection.request(subject, payload, { timeout: options.timeoutMs, headers });
    text = reply.string();
  } catch (error) {
    throw busError(error, `${address.service} ${address.wire} on ${address.target}`);
  }
  const reply = parseReply(text);
  if ("error" in reply) throw fromWire(reply.error);
  return reply.dataJson;
}

/** Parses the data of an answer. @throws MALFORMED_REPLY */
export function parseData(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DvError("MALFORMED_REPLY", "The answer is not valid JSON.", { cause: error });
  }
}
