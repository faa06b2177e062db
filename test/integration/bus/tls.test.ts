// SPDX-License-Identifier: Apache-2.0
/** TLS of the bus (RULES.md 9): what an outsider sees, whom servers and clients believe, and a certificate that is renewed. */
import { X509Certificate } from "node:crypto";
import { copyFileSync, readFileSync } from "node:fs";
import { connect as dial } from "node:net";
import path from "node:path";
import { connect as dialTls } from "node:tls";
import { connectBus } from "@debvisor/shared/bus/connect";
import { connectSystem } from "@debvisor/shared/bus/system";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { startNatsProcess } from "@debvisor/shared/nats-server/process";
import { expect, test } from "vitest";
import { NATS_CACHE_DIR } from "../../../tools/paths.ts";
import { greetRouteByTls } from "../../support/attacker.ts";
import { type BusCluster, randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { certificateOf, issue, testAuthority, writeServerTls } from "../../support/certificates.ts";
import { EventPublisher } from "../../support/event-traffic.ts";
import { freePorts } from "../../support/free-ports.ts";

const cluster = sharedBusCluster({ servers: 1, tls: true });

test("a client is told nothing before the handshake, and what it says in the clear is no use", async () => {
  const heard = await sayInTheClear(cluster().server(0).url, 'CONNECT {"verbose":false}\r\nPING\r\n');

  // At most a TLS alert, which begins with 21.
  expect([undefined, 21]).toContain(heard[0]);
  expect(heard.toString("latin1")).not.toMatch(/INFO|server_id|nonce|PONG|-ERR/);
});

test("a server speaks TLS 1.3 and nothing older", async () => {
  const url = cluster().server(0).url;

  expect(await handshake(url, { ca: cluster().authority?.certificatePem })).toBe("TLSv1.3");
  await expect(handshake(url, { rejectUnauthorized: false, maxVersion: "TLSv1.2" })).rejects.toThrow(/version|alert/i);
});

test("a client believes only servers of the cluster's own authority", async () => {
  const stranger = (await testAuthority()).certificatePem;
  const id = randomNodeId();
  const credential = await cluster().issuer.forNode(id);
  const options = {
    servers: cluster().urls,
    credential,
    origin: id,
    node: { id, name: "n" },
    version: "1",
    log: cluster().log,
    patienceMs: 200,
  };

  await expect(connectBus({ ...options, tls: { ca: stranger } })).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  await expect(connectBus(options)).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  const system = await cluster().issuer.forSystem(id);
  const refused = connectSystem(cluster().urls, system, 200, { ca: stranger });
  await expect(refused).rejects.toMatchObject({ code: "NATS_SERVER_FAILED" });

  // Two authorities in one text, as while one replaces the other.
  const both = `${stranger}${cluster().authority?.certificatePem}`;
  const bus = await cluster().connect({ ...options, tls: { ca: both } });
  expect(bus.connected).toBe(true);
});

test("neither client nor server believes a certificate that names another address", async () => {
  const wrong = await loneServer("wrong", ["192.0.2.1"]);
  const dialler = await loneServer("dialler", ["127.0.0.1"], [`127.0.0.1:${wrong.settings.clusterPort}`]);
  try {
    const url = `127.0.0.1:${wrong.settings.port}`;
    await expect.poll(() => certificateOf(url)).toMatchObject({ subjectaltname: expect.stringContaining("192.0.2.1") });
    const system = await cluster().issuer.forSystem(randomNodeId());
    const refused = connectSystem(url, system, 300, cluster().tls.tls);

    await expect(refused).rejects.toMatchObject({ cause: { message: expect.stringContaining("altnames") } });
    await expect.poll(() => dialler.logTail()).toMatch(/not 127\.0\.0\.1/);
  } finally {
    await Promise.all([wrong.stop(), dialler.stop()]);
  }
});

test("another server needs a certificate of the cluster as well as the password", async () => {
  const { route } = cluster().server(0);
  const hello = { user: "route", pass: cluster().routePassword };
  const { authority } = cluster();
  if (!authority) throw new Error("the bus has no TLS");
  const own = await issue(authority);
  const foreign = await issue(await testAuthority());

  await expect(greetRouteByTls(route, hello, {})).rejects.toThrow(/certificate required|alert/i);
  await expect(greetRouteByTls(route, hello, { cert: foreign.certificate, key: foreign.key })).rejects.toThrow(
    /unknown ca|bad certificate|alert/i,
  );
  expect(await greetRouteByTls(route, { ...hello, pass: "guess" }, { cert: own.certificate, key: own.key })).toContain(
    "-ERR 'Authorization Violation'",
  );
  // The control: with both it is let in.
  expect(await greetRouteByTls(route, hello, { cert: own.certificate, key: own.key })).toContain("PONG");
});

test("a renewed certificate is taken up while a writer goes on, and connections stay", async ({ annotate }) => {
  const server = cluster().server(0);
  if (!server.tls || !cluster().authority) throw new Error("the bus has no TLS");
  const before = await shownFingerprint(server.url);
  const publisherBus = await cluster().connectNode();
  const publisher = new EventPublisher(publisherBus, randomNodeId(), 1);
  await publisher.more(10);

  const renewed = await renew(cluster());
  // Half of a renewal, as when the machine stops between two files: the server goes on with what it has.
  copyFileSync(server.tls.key, `${server.tls.key}.new`);
  copyFileSync(renewed.oldKey, server.tls.key);
  await expect(server.takeUpCertificates()).rejects.toMatchObject({ code: "DATA_FOLDER_CORRUPT" });
  expect(await shownFingerprint(server.url)).toBe(before);
  copyFileSync(`${server.tls.key}.new`, server.tls.key);
  const startedAt = performance.now();
  await server.takeUpCertificates();
  const tookMs = Math.round(performance.now() - startedAt);
  await publisher.more(10);
  await publisher.stop();

  expect(await shownFingerprint(server.url)).toBe(renewed.fingerprint);
  expect(renewed.fingerprint).not.toBe(before);
  expect(publisherBus.reconnects).toBe(0);
  await annotate(`taken up in ${tookMs} ms; longest wait for an acknowledgement ${Math.round(publisher.longestMs)} ms`);
});

/** A server that belongs to nobody's group, with a certificate for `addresses`. */
async function loneServer(name: string, addresses: readonly string[], routes: readonly string[] = []) {
  const { authority, trust, routePassword } = cluster();
  if (!authority) throw new Error("the bus has no TLS");
  const dir = path.join(cluster().dir, name);
  const [port = 0, clusterPort = 0, monitorPort = 0] = await freePorts(3);
  const binary = (await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined })).path;
  return startNatsProcess(
    { binary, dir, name },
    {
      serverName: name,
      host: "127.0.0.1",
      port,
      clusterPort,
      monitorPort,
      clusterName: "other",
      routes,
      routePassword,
      storeDir: path.join(dir, "jetstream"),
      resolverDir: path.join(dir, "accounts"),
      trust,
      tls: await writeServerTls(path.join(dir, "tls"), authority, addresses),
      jetstream: false,
    },
  );
}

/** Puts a new certificate into the server's folder. */
async function renew(bus: BusCluster): Promise<{ fingerprint: string; oldKey: string }> {
  const { tls } = bus.server(0);
  if (!tls || !bus.authority) throw new Error("the bus has no TLS");
  const oldKey = `${tls.key}.old`;
  copyFileSync(tls.key, oldKey);
  await writeServerTls(path.dirname(tls.key), bus.authority);
  return { fingerprint: new X509Certificate(readFileSync(tls.certificate)).fingerprint256, oldKey };
}

/** Everything that comes within 300 ms of dialling and speaking without TLS. */
function sayInTheClear(url: string, text: string): Promise<Buffer> {
  const [host, port] = url.split(":");
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = dial({ host: host ?? "", port: Number(port) });
    // First only listen: a server without handshake_first greets at once.
    setTimeout(() => socket.write(text), 100);
    setTimeout(() => socket.destroy(), 300);
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", () => undefined);
    socket.once("close", () => resolve(Buffer.concat(chunks)));
  });
}

/** The version that both agreed upon. */
function handshake(url: string, options: object): Promise<string | null> {
  const [host, port] = url.split(":");
  return new Promise((resolve, reject) => {
    const socket = dialTls({ host, port: Number(port), ...options }, () => {
      resolve(socket.getProtocol());
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

async function shownFingerprint(url: string): Promise<string> {
  return (await certificateOf(url)).fingerprint256;
}
