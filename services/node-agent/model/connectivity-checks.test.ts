// SPDX-License-Identifier: Apache-2.0
/** What probes mean. */
import { expect, test } from "vitest";
import { busCheck, certificateCheck, dnsCheck, endpointCheck, notConfigured } from "./connectivity-checks.ts";

const DAY_MS = 24 * 3600 * 1000;
const good = { ms: 1, reason: undefined };

test.each([
  ["answers", { connected: true, rtt: good }, { status: "passed" }],
  ["answers slowly", { connected: true, rtt: { ms: 900, reason: undefined } }, { status: "warned" }],
  ["is not connected", { connected: false, rtt: good }, { status: "failed", critical: true }],
  ["does not answer", { connected: true, rtt: { ms: 0, reason: "closed" } }, { status: "failed", critical: true }],
])("judges a bus that %s", (_title, bus, expected) => {
  expect(busCheck(bus, 250)).toMatchObject({ id: "connectivity.bus", ...expected });
});

test("judges endpoints by reach and by time", () => {
  const check = (probe: typeof good | { ms: number; reason: string }, host = "h") =>
    endpointCheck({ host, port: 22 }, probe, 500);

  expect(check(good)).toMatchObject({ id: "connectivity.tcp:h:22", status: "passed" });
  expect(check({ ms: 501, reason: undefined })).toMatchObject({ status: "warned" });
  expect(check({ ms: 2, reason: "ECONNREFUSED" }, "::1")).toMatchObject({
    id: "connectivity.tcp:[::1]:22",
    status: "failed",
  });
});

test("judges names by their addresses", () => {
  expect(dnsCheck("a.b", { addresses: ["192.0.2.1"], reason: undefined })).toMatchObject({ status: "passed" });
  expect(dnsCheck("a.b", { addresses: [], reason: "ENOTFOUND" })).toMatchObject({ status: "failed" });
  expect(dnsCheck("a.b", { addresses: [], reason: undefined })).toMatchObject({ status: "failed" });
});

test.each([
  ["far from expiry", 0, 100, "passed"],
  ["near expiry", 0, 29.5, "warned"],
  ["expired", -10, -1, "failed"],
  ["not valid yet", 1, 100, "failed"],
])("judges a certificate that is %s", (_title, from, to, status) => {
  const now = 1_800_000_000_000;
  const reading = { subject: "CN=a", validFromMs: now + from * DAY_MS, validToMs: now + to * DAY_MS };

  expect(certificateCheck("/x.pem", reading, now, 30)).toMatchObject({ id: "connectivity.certificate:/x.pem", status });
});

test("fails a certificate that cannot be read, and names what is not configured", () => {
  expect(certificateCheck("/x.pem", { reason: "ENOENT" }, 0, 30)).toMatchObject({ status: "failed" });
  expect(notConfigured("dns", "dnsNames")).toMatchObject({ id: "connectivity.dns", status: "skipped" });
});
