// SPDX-License-Identifier: Apache-2.0
/**
 * A server that answers BADKEY to a key that is replaced from time to time: the key is read anew, and the same is sent again with the new
 * one. What was refused so had no effect (RFC 8945 §5.2.1), so a rotation disturbs nobody who read the key before it was replaced.
 */
import { toDvError } from "@debvisor/shared/errors";
import { type Bind, type Endpoint, UPDATE_MS } from "../drivers/bind.ts";

/** An update that was refused later than this is not sent again: two of them have to end before anybody adopts the operation. */
const AGAIN_WITHIN_MS = UPDATE_MS / 2;

/** The same driver, which renews keys. `monotonic` is a clock in milliseconds. */
export function withFreshKeys(bind: Bind, monotonic: () => number): Bind {
  const updated: Bind["update"] = async (server, zone, lines, options) => {
    const startedAt = monotonic();
    try {
      return await bind.update(server, zone, lines, options);
    } catch (error) {
      if (toDvError(error).code !== "DNS_TSIG_BADKEY" || monotonic() - startedAt > AGAIN_WITHIN_MS) throw error;
      const renewed = await renewedOf(server);
      if (!renewed) throw error;
      return await bind.update(renewed, zone, lines, options);
    }
  };
  return {
    ...bind,
    update: updated,
    query: async (server, questions, options) => {
      const replies = await bind.query(server, questions, options);
      // A server that refuses a signature answers NOTAUTH; which of the reasons it was, only a probe would say.
      const renewed = replies.some(({ status }) => status === "NOTAUTH") ? await renewedOf(server) : undefined;
      return renewed ? await bind.query(renewed, questions, options) : replies;
    },
    probe: async (server, zone, options) => {
      const fault = await bind.probe(server, zone, options);
      const renewed = fault?.error === "BADKEY" ? await renewedOf(server) : undefined;
      return renewed ? await bind.probe(renewed, zone, options) : fault;
    },
    transfer: async (server, zone, options) => {
      try {
        return await bind.transfer(server, zone, options);
      } catch (error) {
        const renewed = toDvError(error).code === "DNS_REFUSED" ? await renewedOf(server) : undefined;
        if (!renewed) throw error;
        return await bind.transfer(renewed, zone, options);
      }
    },
  };
}

/** The server with its key as it is now; undefined when that is the one it had. */
async function renewedOf(server: Endpoint): Promise<Endpoint | undefined> {
  const key = await server.renew?.();
  return key && key.name !== server.key?.name ? { ...server, key } : undefined;
}
