// SPDX-License-Identifier: Apache-2.0
/** TLS towards the servers of the bus: the handshake comes first, and the server's certificate has to name its address. */
import type { TlsOptions } from "@nats-io/nats-core";

/**
 * Certificates of the authorities that may have signed the server's: as PEM text, or as a file that is read anew for every
 * connection, so that a change of authority needs no restart. Either may hold several.
 */
export type BusTls = { readonly ca: string } | { readonly caFile: string };

/** The client's option; nothing without TLS. */
export function tlsOption(tls: BusTls | undefined): { tls?: TlsOptions } {
  if (!tls) return {};
  // The client hands what it does not know on to node:tls, which checks the name or address that was dialled.
  const options = { ...tls, handshakeFirst: true, minVersion: "TLSv1.3" };
  return { tls: options };
}
