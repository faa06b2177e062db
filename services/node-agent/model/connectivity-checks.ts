// SPDX-License-Identifier: Apache-2.0
/** What probes of the network and of certificates mean. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { findingsOf } from "./findings.ts";

/** How a connection attempt ended. `reason` is in words; undefined when it succeeded. */
export interface ProbeResult {
  readonly ms: number;
  readonly reason: string | undefined;
}

/** What a certificate file says. `reason` tells why it could not be read. */
export type CertificateReading =
  | { readonly subject: string; readonly validFromMs: number; readonly validToMs: number }
  | { readonly reason: string };

const DAY_MS = 24 * 3600 * 1000;
const { passed, warned, failed, skipped } = findingsOf("connectivity");

/** The connection to the message bus; without it the node is alone. */
export function busCheck(bus: { readonly connected: boolean; readonly rtt: ProbeResult }, warnMs: number): HealthCheck {
  const hint = "Check nats-server on the server nodes and the network between; dvctl status shows both.";
  if (!bus.connected || bus.rtt.reason !== undefined) {
    return failed("bus", `The message bus does not answer: ${bus.rtt.reason ?? "not connected"}.`, hint, true);
  }
  const took = `The message bus answers in ${bus.rtt.ms.toFixed(1)} ms`;
  if (bus.rtt.ms <= warnMs) return passed("bus", `${took}.`);
  return warned("bus", `${took}, more than ${warnMs} ms.`, hint);
}

/** A TCP endpoint that must accept connections. */
export function endpointCheck(
  endpoint: { readonly host: string; readonly port: number },
  probe: ProbeResult,
  slowMs: number,
): HealthCheck {
  const address = endpoint.host.includes(":")
    ? `[${endpoint.host}]:${endpoint.port}`
    : `${endpoint.host}:${endpoint.port}`;
  const name = `tcp:${address}`;
  if (probe.reason !== undefined) {
    const hint = `Check that ${endpoint.host} is up, that something listens on port ${endpoint.port}, and the firewalls between.`;
    return failed(name, `${address} cannot be reached: ${probe.reason}.`, hint);
  }
  const took = `${address} accepted a connection in ${probe.ms.toFixed(1)} ms`;
  if (probe.ms <= slowMs) return passed(name, `${took}.`);
  return warned(name, `${took}, more than ${slowMs} ms.`, "Look for loss or congestion on the way: ping, mtr.");
}

/** A name that must resolve. */
export function dnsCheck(
  name: string,
  found: { readonly addresses: readonly string[]; readonly reason: string | undefined },
): HealthCheck {
  if (found.reason === undefined && found.addresses.length > 0) {
    return passed(`dns:${name}`, `${name} resolves to ${found.addresses.join(", ")}.`);
  }
  const hint = "Check the servers in /etc/resolv.conf, and that the zone holds the name: dig +trace.";
  return failed(`dns:${name}`, `${name} does not resolve: ${found.reason ?? "no address"}.`, hint);
}

/** Expiry of a certificate file. */
export function certificateCheck(
  path: string,
  reading: CertificateReading,
  nowMs: number,
  warnDays: number,
): HealthCheck {
  const name = `certificate:${path}`;
  if ("reason" in reading) {
    return failed(
      name,
      `${path} cannot be read: ${reading.reason}.`,
      "Restore the certificate or correct its path in node-agent.yaml.",
    );
  }
  const until = new Date(reading.validToMs).toISOString();
  const hint = "Renew the certificate and reload what uses it.";
  if (nowMs >= reading.validToMs) return failed(name, `${path} (${reading.subject}) expired at ${until}.`, hint);
  if (nowMs < reading.validFromMs) {
    const from = new Date(reading.validFromMs).toISOString();
    return failed(
      name,
      `${path} (${reading.subject}) is valid only from ${from}.`,
      "Check the host's clock: timedatectl.",
    );
  }
  const days = Math.floor((reading.validToMs - nowMs) / DAY_MS);
  const message = `${path} (${reading.subject}) is valid until ${until}, ${days} days more.`;
  return days < warnDays ? warned(name, message, hint) : passed(name, message);
}

/** Stands for a kind of probe that is not configured, so that the report says so. */
export function notConfigured(kind: "ssh" | "tcp" | "dns" | "certificate", key: string): HealthCheck {
  return skipped(kind, `Nothing to check: ${key} is empty.`);
}
