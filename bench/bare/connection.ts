// SPDX-License-Identifier: Apache-2.0
/** A plain NATS connection with the gateway's credential and the library's defaults, as the bare paths use it. */
import { inboxPrefix } from "@debvisor/proto-events/subjects";
import { readCredential } from "@debvisor/shared/node-files";
import { connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";

/** Where to connect, and where the credential is. */
export interface BareConnection {
  readonly servers: readonly string[];
  readonly nodeDir: string;
  readonly nodeId: string;
}

/** Connects; `inbox` is the prefix of the reply subjects that the credential may hear. */
export async function connectBare(options: BareConnection): Promise<{ connection: NatsConnection; inbox: string }> {
  const { user, creds } = readCredential(options.nodeDir, "gateway", `gateway-${options.nodeId}`);
  const inbox = inboxPrefix(user);
  const authenticator = credsAuthenticator(new TextEncoder().encode(creds));
  return { connection: await connect({ servers: [...options.servers], authenticator, inboxPrefix: inbox }), inbox };
}
