// SPDX-License-Identifier: Apache-2.0
/** Real sockets on loopback: what probes report when something listens, nothing listens, or nobody answers. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { readCertificate } from "./certificates.ts";
import { resolveName } from "./dns-lookup.ts";
import { probeTcp } from "./tcp-probe.ts";

async function listening(): Promise<{ port: number; close: () => void }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return { port: typeof address === "object" && address !== null ? address.port : 0, close: () => server.close() };
}

test("tells a port that listens from one that does not", async () => {
  const server = await listening();
  const open = await probeTcp("127.0.0.1", server.port, 2_000);
  server.close();
  const closed = await probeTcp("127.0.0.1", server.port, 2_000);

  expect(open.reason).toBeUndefined();
  expect(closed.reason).toBe("ECONNREFUSED");
});

test("gives up when the signal aborts", async () => {
  // 192.0.2.0/24 is reserved for documentation (RFC 5737); whatever the network says, the attempt is over at once.
  const probe = await probeTcp("192.0.2.1", 9, 2_000, { signal: AbortSignal.timeout(1) });

  expect(probe.reason).toBeDefined();
  expect(probe.ms).toBeLessThan(1_000);
});

test("asks the given DNS server, and gives up on one that is silent", async () => {
  const answering = createSocket("udp4");
  answering.on("message", (query, from) => answering.send(answerTo(query), from.port, from.address));
  const silent = createSocket("udp4");
  for (const socket of [answering, silent]) await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const server = (socket: typeof silent) => [`127.0.0.1:${socket.address().port}`];

  const found = await resolveName("node.example", 2_000, { servers: server(answering) });
  const nothing = await resolveName("node.example", 200, { servers: server(silent) });
  answering.close();
  silent.close();

  expect(found).toEqual({ addresses: ["192.0.2.7"], reason: undefined });
  expect(nothing.addresses).toEqual([]);
  expect(nothing.reason).toMatch(/^E/);
});

test("reads a certificate, and says why it cannot", async () => {
  const sample = new URL("samples/openssl-3.0.19-req-x509.pem", import.meta.url).pathname;

  expect(await readCertificate(sample)).toMatchObject({ subject: "O=DebVisor, CN=sample" });
  expect(await readCertificate("/no/such.pem")).toEqual({ reason: "ENOENT" });
  expect(await readCertificate(new URL("probes.test.ts", import.meta.url).pathname)).toEqual({
    reason: "it is no certificate",
  });
});

/** Answers an A question with 192.0.2.7 and any other with no record (RFC 1035 §4.1). */
function answerTo(query: Buffer): Buffer {
  const end = query.indexOf(0, 12) + 5;
  const isA = query.readUInt16BE(end - 4) === 1;
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(isA ? 1 : 0, 6);
  header.writeUInt16BE(0, 8);
  header.writeUInt16BE(0, 10);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
  return Buffer.concat([header, query.subarray(12, end), isA ? record : Buffer.alloc(0)]);
}

test("waits for what a server says first where that is asked for", async () => {
  const greeting = /^SSH-2\.0-/m;
  const reasons: (string | undefined)[] = [];
  for (const words of ["SSH-2.0-test\r\n", "HTTP/1.1 400 Bad Request\r\n", undefined]) {
    const server = createServer((socket) => (words === undefined ? socket.resume() : socket.end(words)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    reasons.push((await probeTcp("127.0.0.1", port, 200, { greeting })).reason);
    server.close();
  }

  expect(reasons).toEqual([undefined, "what answers is something else", "no answer within 200 ms"]);
});
