// SPDX-License-Identifier: Apache-2.0
/** Users that the bus refuses: they try on, ever less often, say why, and are back once they are let in. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { type Credential, serverTrust } from "@debvisor/shared/bus/trust";
import { userKeyOf } from "@debvisor/shared/bus/user-keys";
import { expect, test } from "vitest";
import { type BusCluster, randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { filesBelow } from "../../support/bus-server.ts";

const cluster = sharedBusCluster({ servers: 1 });
const WATCHED_MS = 5_000;

test("a service whose user was revoked tries ever less often, and is back when the user is let in again", async ({
  annotate,
}) => {
  const id = randomNodeId();
  const credential = await cluster().issuer.forNode(id);
  const bus = await cluster().connectNode(id, { credential });

  await push(cluster(), [credential]);
  await expect.poll(() => bus.connected).toBe(false);
  await sleep(WATCHED_MS);
  const tries = refusals(cluster(), credential);

  expect(tries).toBeGreaterThan(2);
  expect(tries).toBeLessThan(12);
  await push(cluster(), []);
  await expect.poll(() => bus.connected, { timeout: 20_000 }).toBe(true);
  await bus.connection.flush();
  await annotate(`${tries} tries in ${WATCHED_MS / 1_000} s`);
});

test("a service that starts under a revoked user tries seldom, and says that it is refused", async ({ annotate }) => {
  const id = randomNodeId();
  const credential = await cluster().issuer.forNode(id);
  await push(cluster(), [credential]);

  const error = await cluster()
    .connectNode(id, { credential, patienceMs: WATCHED_MS })
    .then(
      () => new Error("it was let in"),
      (failure: unknown) => failure,
    );

  expect(error).toMatchObject({ code: "BUS_UNAVAILABLE" });
  expect(inspect(error)).toContain(`refuses the user ${credential.user}`);
  const tries = refusals(cluster(), credential);
  expect(tries).toBeLessThan(12);
  await annotate(`${tries} tries in ${WATCHED_MS / 1_000} s`);
});

test("who was refused at first and then let in is told again when it is refused later", async () => {
  const id = randomNodeId();
  const credential = await cluster().issuer.forNode(id);
  await push(cluster(), [credential]);
  const connecting = cluster().connectNode(id, { credential });
  await expect.poll(() => refusals(cluster(), credential)).toBeGreaterThan(1);
  await push(cluster(), []);
  await connecting;

  await push(cluster(), [credential]);

  const [log = ""] = filesBelow(cluster().dir, "connections.log");
  await expect.poll(() => readFileSync(log, "utf8")).toContain(`The bus refuses the user ${credential.user}`);
});

/** Gives the server account JWTs that revoke exactly these users; it takes them when they are newer than what it has. */
async function push(bus: BusCluster, revoked: readonly Credential[]): Promise<void> {
  await sleep(1_100);
  const users = revoked.map((credential) => ({ publicKey: userKeyOf(credential), at: Math.floor(Date.now() / 1_000) }));
  const { accounts } = await serverTrust(bus.seeds, { users });
  const system = await bus.connectSystem();
  await Promise.all(Object.values(accounts).map((jwt) => system.pushAccount(jwt)));
  await system.close();
}

/** How often the server has refused a user. */
function refusals(bus: BusCluster, credential: Credential): number {
  const [log = ""] = filesBelow(bus.dir, "nats-server.log");
  const lines = readFileSync(log, "utf8").split("\n");
  return lines.filter((line) => line.includes("authentication error") && line.includes(userKeyOf(credential))).length;
}
