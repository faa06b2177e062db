// SPDX-License-Identifier: Apache-2.0
/** Makes the first connection to the bus under a credential; later the client keeps it up by itself. */

import { inboxPrefix } from "@debvisor/proto-events/subjects";
import { AuthorizationError, type NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { ConnectOptions } from "./connect.ts";
import { credentialAuthenticator } from "./keys.ts";
import type { ReconnectDelay } from "./reconnect-delay.ts";
import { tlsOption } from "./tls.ts";

/** Until the bus is tried again when it does not answer, in milliseconds. */
const RETRY_MS = 50;
const PATIENCE_MS = 10_000;

/** What OpenSSL says of a certificate that is not valid now. */
const DATE_FAULTS = ["CERT_NOT_YET_VALID", "CERT_HAS_EXPIRED"];
const CLOCK_HINT = "the certificate of the bus is not valid by this machine's clock; is the clock right?";

/** Connects, retrying until patience runs out. @throws BUS_UNAVAILABLE, saying whether the bus is away or refuses the user */
export async function dial(options: ConnectOptions, delay: ReconnectDelay): Promise<NatsConnection> {
  const deadline = systemClock.monotonic() + (options.patienceMs ?? PATIENCE_MS);
  let told = false;
  for (;;) {
    try {
      const connection = await connectOnce(options, delay);
      delay.connected();
      return connection;
    } catch (error) {
      if (!told && isAboutTime(error)) {
        options.log.warn(CLOCK_HINT);
        told = true;
      }
      const { wait, why } = afterFailure(error, options, delay);
      const left = deadline - systemClock.monotonic();
      if (left <= 0) throw new DvError("BUS_UNAVAILABLE", why, { cause: error });
      await systemClock.sleep(Math.min(wait, left));
    }
  }
}

/** How long to wait before the next attempt, and what to say if there is none. */
function afterFailure(error: unknown, options: ConnectOptions, delay: ReconnectDelay): { wait: number; why: string } {
  if (!(error instanceof AuthorizationError))
    return { wait: RETRY_MS, why: `The bus does not answer at ${options.servers.join(", ")}.` };
  delay.refused();
  return { wait: delay.next(), why: refusal(options) };
}

/** What somebody has to know whose user is refused. */
export function refusal({ credential, node }: ConnectOptions): string {
  return `The bus refuses the user ${credential.user}. Was the node ${node.name} (${node.id}) removed from the cluster?`;
}

function connectOnce(options: ConnectOptions, delay: ReconnectDelay): Promise<NatsConnection> {
  return connect({
    servers: [...options.servers],
    name: options.credential.user,
    authenticator: credentialAuthenticator(options.credential.creds),
    inboxPrefix: inboxPrefix(options.credential.user),
    ...tlsOption(options.tls),
    timeout: 2_000,
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectDelayHandler: () => delay.next(),
    ignoreAuthErrorAbort: true,
    pingInterval: 5_000,
    maxPingOut: 2,
    noRandomize: true,
    // A stack trace made for every request that never fails costs 5 % of the gateway.
    noAsyncTraces: true,
  });
}

/** Whether a certificate was refused for its dates. */
function isAboutTime(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (DATE_FAULTS.includes(String((cause as NodeJS.ErrnoException).code))) return true;
  }
  return false;
}
