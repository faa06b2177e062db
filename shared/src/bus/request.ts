// SPDX-License-Identifier: Apache-2.0
/** One request, one answer. */
import { randomUUID } from "node:crypto";
import { rpcSubject } from "@debvisor/proto-events/subjects";
import type { NatsConnection } from "@nats-io/nats-core";
import { DvError, fromWire } from "../errors.ts";
import type { CallOptions } from "./bus.ts";
import { endOfTurn } from "./turn.ts";
import { busError, parseReply, requestHeaders } from "./wire.ts";

/** Sends a request and returns the JSON text of the answer's data. @throws the peer's error, UNAVAILABLE, TIMEOUT, BUS_UNAVAILABLE */
export async function requestText(
  connection: NatsConnection,
  address: { readonly target: string; readonly service: string; readonly wire: string },
  input: unknown,
  options: CallOptions & { timeoutMs: number },
): Promise<string> {
  const subject = rpcSubject(address.target, address.service, address.wire);
  const headers = requestHeaders({ ...options, requestId: options.requestId ?? randomUUID() });
  let text: string;
  try {
    await endOfTurn();
    const reply = await connection.request(subject, JSON.stringify(input), { timeout: options.timeoutMs, headers });
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
