// SPDX-License-Identifier: Apache-2.0
/** A record for the tests of the models. Its signature is none. */
import type { AuditRecord } from "@debvisor/proto-events/audit";

export const sampleRecord: AuditRecord = {
  v: 1,
  id: "0123456789abcdef0123456789abcdef",
  emitter: "gateway-abcdefghijklmnop",
  n: 1,
  prev: null,
  kind: "outcome",
  ref: "op-aaaaaaaaaaaaa",
  actor: "operator",
  user: null,
  source: "127.0.0.1",
  action: "node-agent.put-file",
  mode: "apply",
  targets: ["node-1"],
  args: { path: "/etc/motd" },
  reason: "greeting",
  override: null,
  planDigest: null,
  operation: "op-aaaaaaaaaaaaa",
  requestId: "request-1",
  traceId: null,
  result: { status: "ok", code: null, exitCode: 0, message: null },
  time: "2026-11-20T11:00:00.000Z",
  boot: "boot",
  mono: 12,
  cred: null,
  sig: "A".repeat(86),
};
