// SPDX-License-Identifier: Apache-2.0
/** The few requests to the system account that forming a cluster of servers needs. */
import { inboxPrefix } from "@debvisor/proto-events/subjects";
import { connect } from "@nats-io/transport-node";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { credentialAuthenticator } from "./keys.ts";
import type { Credential } from "./trust.ts";

/** A connection to the system account of one server. */
export interface SystemConnection {
  /** Removes a server from the meta group. Answered late or never while leadership moves: look at the result instead. */
  removePeer(serverName: string): Promise<void>;
  /** Asks the meta leader to hand over to the named server. The same caution applies. */
  stepDown(preferred: string): Promise<void>;
  close(): Promise<void>;
}

/** Connects to a server that is just starting. @throws NATS_SERVER_FAILED when it does not answer in time */
export async function connectSystem(
  server: string,
  credential: Credential,
  patienceMs: number,
): Promise<SystemConnection> {
  const deadline = systemClock.monotonic() + patienceMs;
  for (;;) {
    try {
      const connection = await connect({
        servers: server,
        authenticator: credentialAuthenticator(credential.creds),
        inboxPrefix: inboxPrefix(credential.user),
        timeout: 1_000,
        reconnect: false,
      });
      const ask = async (subject: string, body: unknown) => {
        await connection.request(subject, JSON.stringify(body), { timeout: 500 }).catch(() => undefined);
      };
      return {
        removePeer: (peer) => ask("$JS.API.SERVER.REMOVE", { peer }),
        stepDown: (preferred) => ask("$JS.API.META.LEADER.STEPDOWN", { placement: { preferred } }),
        close: () => connection.close(),
      };
    } catch (error) {
      if (systemClock.monotonic() > deadline) {
        throw new DvError("NATS_SERVER_FAILED", `nats-server does not answer at ${server}.`, { cause: error });
      }
      await systemClock.sleep(30);
    }
  }
}
