// SPDX-License-Identifier: Apache-2.0
/** Examples of the OpenAPI document. A test checks each against its schema, and calls the GET routes with them. */

/** Values of parameters by name. */
export const PARAMETER_EXAMPLES: Readonly<Record<string, unknown>> = {
  node: "node-1",
  nodes: "all",
  token: "k3x9w2mq",
  reason: "The disk is replaced.",
  limit: 50,
  since: "10m",
  tail: 20,
  telemetry: "0",
  operation: "op-k3x7w2mqabcde",
  unit: "gateway",
  seq: 12,
  mode: "plan",
  after: 7,
  seconds: 0,
  server: "ns1",
  key: "dv-2026",
  name: "web1",
  zone: "debvisor.local",
  change: "op-k3x7w2mqabcde",
  "Dv-User": "ines (sudo by root)",
  "If-Match": '"4711"',
  "Idempotency-Key": "7f3c1f0e9a5d4b62",
  "If-None-Match": '"n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"',
  "Last-Event-ID": "4711",
};

/** Request bodies by operation. */
export const BODY_EXAMPLES: Readonly<Record<string, unknown>> = {
  "gateway.createToken": { name: "ci", role: "viewer", scopes: ["discovery:*"], expiresInDays: 30 },
  "cluster.growCluster": { servers: 3, reason: "Two more machines are there." },
  "cluster.acceptNode": { node: "mfrggzdfmztwq2lk" },
  "cluster.approveNode": { node: "mfrggzdfmztwq2lk", words: "ocean lamp quiet tiger maple violin" },
  "discovery.registerNode": { id: "mfrggzdfmztwq2lk", name: "node-4" },
  "discovery.disableNode": { reason: "The disk is replaced." },
  "discovery.enableNode": { mode: "plan" },
  "discovery.removeNode": { reason: "It was sold.", mode: "plan" },
  "discovery.discover": { seconds: 2 },
  "dns.setServer": { address: "192.0.2.53", zone: ["debvisor.local"], key: "dv-2026" },
  "dns.setKey": { algorithm: "hmac-sha256", secret: "c2FtcGxlIHNlY3JldCBvZiAzMiBieXRlcyBsZW5ndGg=" },
  "dns.checkKey": { algorithm: "hmac-sha256" },
  "dns.rotateKeys": { purpose: ["transfer"], overlap: "10m", mode: "plan" },
  "dns.changeRecords": { changes: [{ name: "web1", data: ["192.0.2.7"], ptr: true }], mode: "plan" },
  "host.restartService": { reason: "It leaks memory.", wait: "30s" },
  "host.putFile": { nodes: "all", to: "/etc/motd", contentBase64: "SGVsbG8uCg==", fileMode: "0644", mode: "apply" },
  "host.removeFile": { nodes: "node-2", path: "/etc/motd", mode: "plan" },
  "host.rebootNodes": { nodes: "node-2,node-3", override: "kernel update", back: "10m" },
  "maintenance.enableMaintenance": { node: "node-2", until: "2h", reason: "The disk is replaced." },
  "maintenance.disableMaintenance": { node: "node-2" },
  "trust.rotateAuthority": { reason: "The yearly change." },
  "operation.cancelOperation": { reason: "It was the wrong node." },
  "operation.confirmOperation": { reason: "The new name resolves everywhere.", revision: 9 },
  "operation.pauseOperation": { reason: "The disk fills up.", revision: 9 },
  "operation.continueOperation": {},
  "operation.rollbackOperation": { reason: "It made things worse." },
  "operation.retryOperation": { reason: "The nodes are back." },
};

/** A refusal as callers see it. */
export const PROBLEM_EXAMPLE = {
  type: "/v1/errors?code=NODE_NOT_FOUND",
  title: "No node has this id or name.",
  status: 404,
  detail: "No node is called node-9.",
  instance: "/v1/nodes/node-9",
  code: "NODE_NOT_FOUND",
  kind: "not-found",
  exitCode: 3,
  requestId: "0b9f6a0e-5f0a-4a54-9a55-6b8f1f4f7f10",
};
