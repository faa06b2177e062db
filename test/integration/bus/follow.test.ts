// SPDX-License-Identifier: Apache-2.0
/** What `debvisor-nats.service` does on a server node while others write its files: new servers, renewed certificates. */
import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { inboxPrefix } from "@debvisor/proto-events/subjects";
import { connectBus } from "@debvisor/shared/bus/connect";
import { tlsOption } from "@debvisor/shared/bus/tls";
import { commandSigners, createIssuer, createTrustSeeds, serverTrust, verifierTrust } from "@debvisor/shared/bus/trust";
import { createLogger } from "@debvisor/shared/log";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { startNatsProcess } from "@debvisor/shared/nats-server/process";
import { busTls, createIdentity, type Membership, nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { connect, credsAuthenticator } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { NATS_CACHE_DIR, ROOT } from "../../../tools/paths.ts";
import { greetRouteByTls } from "../../support/attacker.ts";
import { killLeftovers } from "../../support/bus-server.ts";
import { certificateOf, issue, testAuthority, writeServerTls } from "../../support/certificates.ts";
import { freePorts } from "../../support/free-ports.ts";

const DAY_MS = 86_400_000;
const dir = mkdtempSync(path.join(tmpdir(), "debvisor-follow-"));
const paths = nodePaths(dir);
const tlsDir = path.dirname(paths.tls.key);
const seeds = createTrustSeeds();
const authority = await testAuthority();
let unit: ChildProcess;
let said = "";
let membership: Membership & { server: NonNullable<Membership["server"]> };

const url = () => membership.busServers[0] ?? "";
const natsPid = () => Number(readFileSync(path.join(paths.nats, "nats-server.pid"), "utf8"));
const configuration = () => readFileSync(path.join(paths.nats, "nats-server.conf"), "utf8");
const writeMembership = () => writePrivateFile(paths.membership, JSON.stringify(membership));

beforeAll(async () => {
  const { id, pem } = createIdentity();
  const [port = 0, clusterPort = 0, monitorPort = 0, a = 0, b = 0, c = 0] = await freePorts(6);
  writePrivateFile(paths.identity, pem);
  const node = { version: 1, id, name: "server", roles: ["server"], incarnation: 1, root: dir };
  writePrivateFile(paths.node, JSON.stringify(node));
  writePrivateFile(paths.credential("system"), (await createIssuer(seeds).forSystem(id)).creds);
  await writeServerTls(tlsDir, authority);
  membership = {
    version: 1,
    cluster: "test",
    formation: "0".repeat(32),
    joinServers: [],
    advertiseKey: Buffer.alloc(32).toString("base64"),
    busServers: [`127.0.0.1:${port}`],
    commandSigners: commandSigners(seeds),
    trust: await verifierTrust(seeds),
    server: {
      host: "127.0.0.1",
      port,
      clusterPort,
      monitorPort,
      helperPorts: [a, b, c],
      routes: [`127.0.0.1:${clusterPort}`],
      routePassword: "p".repeat(32),
      trust: await serverTrust(seeds),
    },
  };
  writeMembership();
  const binary = await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined });
  unit = spawn(process.execPath, [...process.execArgv, "deploy/bus/main.ts", "--node-dir", dir], {
    cwd: ROOT,
    env: { ...process.env, NATS_SERVER: binary.path },
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise<void>((resolve, reject) => {
    unit.stdout?.on("data", (text) => {
      said += String(text);
      if (said.includes("the bus is up")) resolve();
    });
    unit.once("exit", (code) => reject(new Error(`the unit ended with ${code}`)));
  });
}, 30_000);

afterAll(async () => {
  const ended = new Promise((resolve) => unit.once("exit", resolve));
  unit.kill("SIGTERM");
  await ended;
  killLeftovers(dir);
  await rm(dir, { recursive: true, force: true });
});

async function node() {
  const { user, creds } = await createIssuer(seeds).forNode(createIdentity().id);
  const authenticator = credsAuthenticator(new TextEncoder().encode(creds));
  const tls = tlsOption(busTls(dir));
  return await connect({ servers: url(), authenticator, inboxPrefix: inboxPrefix(user), reconnect: false, ...tls });
}

test("a certificate that is renewed is shown within seconds, and connections stay", async () => {
  const before = natsPid();
  const connection = await node();

  await writeServerTls(tlsDir, authority);
  const renewed = new X509Certificate(readFileSync(paths.tls.certificate)).fingerprint256;

  await expect.poll(() => certificateOf(url()), { timeout: 4_000 }).toMatchObject({ fingerprint256: renewed });
  await connection.flush();
  expect(connection.isClosed()).toBe(false);
  expect(natsPid()).toBe(before);
  await (await node()).close();
  await connection.close();
});

test("servers that join are there at the next start, and the running server is left alone", async () => {
  const before = natsPid();
  const connection = await node();
  const joined = "127.0.0.1:9";
  membership.server = { ...membership.server, routes: [...membership.server.routes, joined] };

  writeMembership();

  await expect.poll(configuration, { timeout: 4_000 }).toContain(`@${joined}`);
  expect(natsPid()).toBe(before);
  expect(connection.isClosed()).toBe(false);
  await connection.close();
});

test("another password between the servers is taken up at once, with clients staying", async () => {
  const before = natsPid();
  const connection = await node();
  membership.server = { ...membership.server, routePassword: "q".repeat(32) };

  writeMembership();

  const { certificate: cert, key } = await issue(authority);
  const route = membership.server.routes[0] ?? "";
  const greet = (letter: string) => greetRouteByTls(route, { user: "route", pass: letter.repeat(32) }, { cert, key });
  await expect.poll(() => greet("q"), { timeout: 4_000 }).toContain("PONG");
  expect(await greet("p")).toContain("-ERR 'Authorization Violation'");
  expect(natsPid()).toBe(before);
  await connection.flush();
  await connection.close();
});

test("a damaged file is told and changes nothing", async () => {
  const before = configuration();
  writePrivateFile(paths.membership, "{");
  await new Promise((resolve) => setTimeout(resolve, 400));

  expect(configuration()).toBe(before);
  expect(unit.exitCode).toBeNull();
  writeMembership();
});

test.each([
  { name: "not valid yet", days: 30, refusal: "begins at", client: "certificate is not yet valid" },
  { name: "no longer valid", days: -30, refusal: "ended at", client: "certificate has expired" },
])(
  "a server whose certificate is $name by the clock gets no route and no client, and both say why",
  {
    timeout: 30_000,
  },
  async ({ days, refusal, client }) => {
    // To a server whose clock is thirty days off, every certificate of the others looks like this one.
    const other = await otherServer(new Date(Date.now() + days * DAY_MS));
    try {
      const id = new X509Certificate(readFileSync(other.tls.certificate)).subject.replace("CN=", "");
      const sentence = `nats-server refuses the certificate of node ${id}: it ${refusal} `;
      await expect.poll(() => said, { timeout: 10_000 }).toContain(sentence);
      expect(said.split(sentence)[1]).toMatch(
        /^\S+, and by this machine's clock it is \S+\. The clock here or there is wrong/,
      );
      const monitor = `http://127.0.0.1:${membership.server.monitorPort}/routez`;
      const { num_routes: routes } = (await (await fetch(monitor)).json()) as { num_routes: number };
      expect(routes).toBe(0);

      const warnings = path.join(dir, `client-${days}.log`);
      const log = createLogger({ level: "warn", destination: warnings });
      const node = createIdentity().id;
      const refused = connectBus({
        ...{ servers: [other.url], origin: node, node: { id: node, name: "n" }, version: "1", log, patienceMs: 300 },
        credential: await createIssuer(seeds).forNode(node),
        tls: { ca: authority.certificatePem },
      });
      await expect(refused).rejects.toMatchObject({
        code: "BUS_UNAVAILABLE",
        cause: { message: expect.stringContaining(client) },
      });
      expect(readFileSync(warnings, "utf8")).toContain("not valid by this machine's clock; is the clock right?");
    } finally {
      await other.stop();
    }
    // Told once, not at each of the attempts that nats-server makes every second.
    expect(said.match(/nats-server refuses the certificate/g)).toHaveLength(days > 0 ? 1 : 2);
  },
);

test("the users of the bus have no dates by which a clock could refuse them", async () => {
  const { creds } = await createIssuer(seeds).forNode(createIdentity().id);
  const [, jwt = ""] = creds.split("\n");
  const claims = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>;

  expect(claims).toHaveProperty("iat");
  expect(claims).not.toHaveProperty("exp");
  expect(claims).not.toHaveProperty("nbf");
});

/** A server of the same cluster that dials the unit's, its certificate issued at `now`. */
async function otherServer(now: Date) {
  const name = `other-${now.getTime()}`;
  const [port = 0, clusterPort = 0, monitorPort = 0] = await freePorts(3);
  const folder = path.join(dir, name);
  const { host, routes, routePassword, trust } = membership.server;
  const tls = await writeServerTls(path.join(folder, "tls"), authority, undefined, now);
  const { path: binary } = await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined });
  const server = startNatsProcess(
    { binary, dir: folder, name },
    {
      ...{
        serverName: name,
        host,
        port,
        clusterPort,
        monitorPort,
        clusterName: "test",
        routes,
        routePassword,
        trust,
        tls,
      },
      storeDir: path.join(folder, "jetstream"),
      resolverDir: path.join(folder, "accounts"),
      jetstream: false,
    },
  );
  return { tls, url: `${host}:${port}`, stop: () => server.stop() };
}
