// SPDX-License-Identifier: Apache-2.0
/** A node that is removed (RULES.md 8): cut within 2 s, and never back, whichever server it tries and whatever restarts. */
import { readFileSync } from "node:fs";
import { SUBJECT_FILTERS, telemetrySubject } from "@debvisor/proto-events/subjects";
import { type Credential, createIssuer, createTrustSeeds, serverTrust } from "@debvisor/shared/bus/trust";
import { userKeyOf } from "@debvisor/shared/bus/user-keys";
import { beforeAll, expect, test } from "vitest";
import { greetRouteByTls, holdRoute, listen } from "../../support/attacker.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import type { BusServer } from "../../support/bus-server.ts";

const LIMIT_MS = 2_000;
const cluster = sharedBusCluster({ servers: 1, tls: true });
/** Everybody who was ever revoked here, as the list of members would have it. */
const revoked: { publicKey: string; at: number }[] = [];
const node = () => cluster().issuer.forNode(randomNodeId());

beforeAll(() => cluster().grow(3, { raise: false }), 60_000);

test("a revoked node is cut from every server within 2 s and gets no message through", async ({ annotate }) => {
  const id = randomNodeId();
  const credential = await cluster().issuer.forNode(id);
  const other = await cluster().connectBare(await node());
  const gateway = await cluster().connectCore("discovery");
  const heard = listen(gateway.connection, SUBJECT_FILTERS.telemetryOf(id));
  const connections = await Promise.all(cluster().urls.map((url) => cluster().connectBare(credential, [url])));
  const closed = connections.map((connection) => connection.closed());
  const talking = setInterval(() => {
    for (const connection of connections)
      if (!connection.isClosed()) connection.publish(telemetrySubject(id, "node-agent", "heartbeat"), "1");
  }, 1);
  await expect.poll(() => heard.length).toBeGreaterThan(10);

  const startedAt = performance.now();
  const results = await revoke(credential);
  await Promise.all(closed);
  const tookMs = performance.now() - startedAt;
  clearInterval(talking);
  await gateway.connection.flush();
  const atTheCut = heard.length;

  const names = cluster().servers.map(({ name }) => name);
  for (const result of results) expect(result).toEqual({ taken: names.sort(), missing: [] });
  expect(tookMs).toBeLessThan(LIMIT_MS);
  expect(await letIn(credential)).toEqual([false, false, false]);
  expect(heard).toHaveLength(atTheCut);
  expect(other.isClosed()).toBe(false);
  // The key is revoked, not the name: a machine that is set up anew makes a new key.
  expect(await letIn(await cluster().issuer.forNode(id))).toEqual([true, true, true]);
  await annotate(`cut from three servers ${Math.round(tookMs)} ms after the decision`);
});

test("a server that was down meanwhile refuses the node from its first moment", async () => {
  const credential = await node();
  const late = cluster().server(2);
  await late.stop();
  for (const { missing } of await revoke(credential)) expect(missing).toEqual([late.name]);

  const attempts = tryToEnter(credential, late.url);
  await late.start();
  await expect.poll(() => letIn(credential, [late.url])).toEqual([false]);

  expect(await attempts.stop()).toMatchObject({ entered: 0 });
});

test("an account's JWT that the operator has not signed lets nobody in and keeps nobody out", async () => {
  const { nodes } = cluster().seeds;
  const foreignSeeds = { ...createTrustSeeds(), nodes };
  const foreign = await serverTrust(foreignSeeds);
  const [jwt = ""] = Object.entries(foreign.accounts).flatMap(([key, value]) =>
    key in cluster().trust.accounts ? [value] : [],
  );
  const system = await cluster().connectSystem();

  // The servers write it down, which is why nobody but the system users may push, and why a start checks what is on the disk.
  await system.pushAccount(jwt);
  const stranger = await createIssuer(foreignSeeds).forNode(randomNodeId());
  const member = await node();
  expect(await letIn(stranger)).toEqual([false, false, false]);
  expect(await letIn(member)).toEqual([true, true, true]);

  await cluster().server(2).stop();
  await cluster().server(2).start();
  const url = [cluster().server(2).url];
  expect(await letIn(stranger, url)).toEqual([false]);
  expect(await letIn(member, url)).toEqual([true]);
});

test("a removed server is out of the group when the removal resolves", async ({ annotate }) => {
  const system = await cluster().connectSystem();
  const gone = cluster().server(2);
  await gone.stop();
  const startedAt = performance.now();

  await system.removePeer(gone.name);

  const peers = (await system.metaPeers())?.map(({ name }) => name).sort();
  expect(peers).toEqual([cluster().server(0).name, cluster().server(1).name].sort());
  // Again is no error.
  await system.removePeer(gone.name);
  await annotate(`removed in ${Math.round(performance.now() - startedAt)} ms`);
});

test("a removed server gets no route any more once the others have another password, and they stay one bus", async () => {
  const [one, two, gone] = [cluster().server(0), cluster().server(1), cluster().server(2)];
  const identity = { cert: readFileSync(gone.tls?.certificate ?? ""), key: readFileSync(gone.tls?.key ?? "") };
  const greet = (pass: string) => greetRouteByTls(one.route, { user: "route", pass }, identity);
  const id = randomNodeId();
  const discovery = await cluster().connectCore("discovery", { servers: [one.url] });
  const heard = listen(discovery.connection, SUBJECT_FILTERS.telemetryOf(id));
  const talker = await cluster().connectBare(await cluster().issuer.forNode(id), [two.url]);
  const routePassword = "n".repeat(32);
  const secret = { user: "route", pass: cluster().routePassword };
  const held = await holdRoute(one.route, secret, identity);
  expect(held.heard()).toContain("PONG");

  for (const server of [one, two]) server.adopt({ routePassword });

  // One that runs on is cut, and does not come back.
  expect(await held.ended).toContain("-ERR 'Authorization Violation'");
  expect(await greet(cluster().routePassword)).toContain("-ERR 'Authorization Violation'");
  expect(await greet(routePassword)).toContain("PONG");
  const said = heard.length;
  const talk = () => {
    talker.publish(telemetrySubject(id, "node-agent", "heartbeat"), "1");
    return heard.length;
  };
  await expect.poll(talk, { timeout: 10_000 }).toBeGreaterThan(said);
  expect(talker.isClosed()).toBe(false);
});

test("all servers restart at once, with JWTs that forget and one that missed a revocation", async ({ annotate }) => {
  const [knows, late] = [cluster().server(0), cluster().server(1)];
  const [known, missed, member] = [await node(), await node(), await node()];
  await revokeOn(known, [knows, late]);
  await late.stop();
  await revoke(missed);
  // Newer than what the servers have on their disks, and without a single revocation.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const trust = await serverTrust(cluster().seeds);
  for (const server of [knows, late]) server.adopt({ trust });
  await knows.stop();

  const attempts = [tryToEnter(known, knows.url), tryToEnter(known, late.url), tryToEnter(missed, knows.url)];
  const lateAttempts = tryToEnter(missed, late.url);
  // Users come and go before JetStream has elected; that takes seconds and is not waited for.
  for (const server of [knows, late]) void server.start().catch(() => undefined);
  const urls = [knows.url, late.url];
  await expect.poll(() => letIn(member, urls)).toEqual([true, true]);
  await expect.poll(() => letIn(missed, urls), { timeout: LIMIT_MS }).toEqual([false, false]);

  for (const { stop } of attempts) expect(await stop()).toMatchObject({ entered: 0 });
  const { entered, forMs } = await lateAttempts.stop();
  expect(forMs).toBeLessThan(LIMIT_MS);
  expect(await letIn(known, urls)).toEqual([false, false]);
  await annotate(`the server that missed it let in ${entered} times in its first ${Math.round(forMs)} ms`);
});

/** Revokes a user the way a removal does: account JWTs that name everybody ever revoked, given to every server. */
async function revoke(credential: Credential) {
  revoked.push({ publicKey: userKeyOf(credential), at: Math.floor(Date.now() / 1_000) });
  const { accounts } = await serverTrust(cluster().seeds, { users: revoked });
  const system = await cluster().connectSystem();
  return await Promise.all(Object.values(accounts).map((jwt) => system.pushAccount(jwt)));
}

/** Revokes a user until each of these servers has said that it took the JWTs: whoever is stopped sooner may have missed it. */
async function revokeOn(credential: Credential, servers: readonly BusServer[]): Promise<void> {
  const missing = async () =>
    (await revoke(credential)).flatMap(({ taken }) => servers.filter(({ name }) => !taken.includes(name)));
  await expect.poll(missing, { timeout: 20_000 }).toEqual([]);
}

/** Whether each server takes the user. */
function letIn(credential: Credential, urls = cluster().urls): Promise<boolean[]> {
  return Promise.all(urls.map(async (url) => (await enter(credential, url)) === "in"));
}

async function enter(credential: Credential, url: string): Promise<"in" | "refused" | "away"> {
  try {
    await (await cluster().connectBare(credential, [url])).close();
    return "in";
  } catch (error) {
    return /authorization/i.test(String(error)) ? "refused" : "away";
  }
}

/** Tries all the time, until stopped. `forMs`: from the first answer of the server until the last time that it let the user in. */
function tryToEnter(credential: Credential, url: string) {
  let stopped = false;
  const tried = { entered: 0, refused: 0, forMs: 0 };
  const run = (async () => {
    let firstAnswer: number | undefined;
    while (!stopped) {
      const outcome = await enter(credential, url);
      if (outcome !== "away") firstAnswer ??= performance.now();
      if (outcome === "refused") tried.refused++;
      if (outcome === "in") {
        tried.entered++;
        tried.forMs = performance.now() - (firstAnswer ?? 0);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  const stop = async () => {
    stopped = true;
    await run;
    expect(tried.entered + tried.refused).toBeGreaterThan(0);
    return tried;
  };
  return { stop };
}
