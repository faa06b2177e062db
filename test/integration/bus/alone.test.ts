// SPDX-License-Identifier: Apache-2.0
/** How the first server of a bus becomes a cluster of one, also when the votes of its first election were lost. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createIssuer, createTrustSeeds, serverTrust } from "@debvisor/shared/bus/trust";
import { createLogger } from "@debvisor/shared/log";
import { becomeClusterOfOne, isUnused } from "@debvisor/shared/nats-server/alone";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { BusMember, hasFormed } from "@debvisor/shared/nats-server/member";
import { startNatsProcess, waitUntilListening } from "@debvisor/shared/nats-server/process";
import { expect, onTestFinished, test } from "vitest";
import { NATS_CACHE_DIR } from "../../../tools/paths.ts";
import { randomNodeId } from "../../support/bus-cluster.ts";
import { killLeftovers } from "../../support/bus-server.ts";
import { freePorts } from "../../support/free-ports.ts";

const HOST = "127.0.0.1";
/** A first election is 0.1 to 0.8 s after the start, any other one 4 s or more after the one before. */
const FIRST_ELECTION_MS = 900;
const NEXT_ELECTION_MS = 4_000;

test("a server whose first election came to nothing begins anew instead of waiting for the next one", async () => {
  const { member, settings, binary, dir, system } = await founder();
  const files = { storeDir: path.join(dir, "jetstream"), resolverDir: path.join(dir, "accounts"), jetstream: true };
  const killed = startNatsProcess({ binary, dir, name: "nats-server" }, { ...settings, ...files });
  await waitUntilListening(killed, 10_000);
  const access = { servers: [`${HOST}:${settings.port}`], credential: system };

  expect(await becomeClusterOfOne(killed, "nobody", access, FIRST_ELECTION_MS)).toBe(false);

  process.kill(killed.pid, "SIGKILL");
  await killed.exited;
  const startedAt = performance.now();
  await member.startAlone();
  expect(performance.now() - startedAt).toBeLessThan(NEXT_ELECTION_MS);
  expect(hasFormed(dir)).toBe(true);
});

test("a store is thrown away only while no account has a stream in it", () => {
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-store-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  expect(isUnused(path.join(dir, "missing"))).toBe(true);
  mkdirSync(path.join(dir, "jetstream/SYSTEM/_js_/_meta_"), { recursive: true });
  mkdirSync(path.join(dir, "jetstream/CORE"));
  expect(isUnused(dir)).toBe(true);
  mkdirSync(path.join(dir, "jetstream/CORE/streams"));
  expect(isUnused(dir)).toBe(false);
});

/** A server that has not been started. */
async function founder() {
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-alone-"));
  const seeds = createTrustSeeds();
  const id = randomNodeId();
  const [port = 0, clusterPort = 0, monitorPort = 0, a = 0, b = 0, c = 0] = await freePorts(6);
  const binary = (await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined })).path;
  const system = await createIssuer(seeds).forSystem(id);
  const settings = {
    ...{ serverName: `${id}-1`, host: HOST, port, clusterPort, monitorPort, clusterName: "test" },
    routes: [`${HOST}:${clusterPort}`],
    routePassword: "p".repeat(32),
    trust: await serverTrust(seeds),
  };
  const log = createLogger({ level: "info", destination: path.join(dir, "member.log") });
  const helperPorts = [a, b, c] as const;
  const member = new BusMember({ binary, dir, settings, systemCredential: system, helperPorts, log });
  onTestFinished(async () => {
    await member.stop();
    killLeftovers(dir);
    rmSync(dir, { recursive: true, force: true });
  });
  return { member, settings, binary, dir, system };
}
