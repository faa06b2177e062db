// SPDX-License-Identifier: Apache-2.0
/**
 * Orders about services and the host, against the supervisor's real socket: what is restarted once is not restarted again,
 * whoever asks how often, and also when the answer was lost.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type SupervisedUnit, supervisorSocket } from "@debvisor/shared/drivers/lab-supervisor";
import { expect, test } from "vitest";
import { startSupervisor } from "../../../apps/lab/src/supervisor.ts";
import { createLabSupervisor } from "../../../services/node-agent/drivers/lab-supervisor.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { codeOf, HostRig, order } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });

/** Two services whose starts the test controls; they have no process. */
class Services {
  readonly gateway: SupervisedUnit = unit("gateway");
  readonly agent: SupervisedUnit = unit("node-agent");
  restarts = 0;
  comesUp = true;

  units(): SupervisedUnit[] {
    return [this.gateway, this.agent];
  }

  restart(name: string): void {
    const restarted = name === "gateway" ? this.gateway : this.agent;
    this.restarts++;
    restarted.invocation = `${name}-${this.restarts}`;
    restarted.state = this.comesUp ? "running" : "starting";
  }
}

function unit(name: string): SupervisedUnit {
  return { name, state: "running", invocation: `${name}-0`, startedAt: "2026-01-02T03:04:05.000Z" };
}

/** A supervisor in a rig's folder; each start of it is a boot of the host. */
async function boot(dir: string, services: Services, reboot: () => void = () => undefined) {
  return await startSupervisor({ dir, services, rebootable: () => true, reboot });
}

test("a service goes by three names, and another one is none of ours", async () => {
  await using rig = await HostRig.start(cluster());
  const services = new Services();
  const supervisor = await boot(rig.dir, services);

  for (const name of ["gateway", "debvisor-gateway", "debvisor-gateway.service"])
    expect(await rig.read("getUnit", { unit: name })).toEqual(services.gateway);
  await expect(rig.command("restartUnit", { unit: "ssh" }, order())).rejects.toMatchObject({
    code: "UNIT_NOT_MANAGED",
    details: { units: ["gateway", "node-agent"] },
  });
  expect(services.restarts).toBe(0);
  expect(statSync(supervisorSocket(rig.dir)).mode & 0o077).toBe(0);
  supervisor.stop();
});

test("a restart whose answer is lost with the agent is not made again", async () => {
  await using rig = await HostRig.start(cluster());
  const services = new Services();
  services.comesUp = false;
  const supervisor = await boot(rig.dir, services);
  const how = order({ step: "restart" });

  const lost = codeOf(rig.command("restartUnit", { unit: "node-agent" }, how));
  await waitFor(
    () => services.restarts > 0,
    5_000,
    () => "nothing was restarted",
  );
  const startedAt = performance.now();
  await rig.stopNode();
  expect(await lost).toBe("UNAVAILABLE");
  // The agent does not hold up its own restart.
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  await rig.startNode();
  const again = rig.command("restartUnit", { unit: "node-agent" }, { ...how, epoch: 2 });
  services.agent.state = "running";

  expect(await again).toMatchObject({ before: { invocation: "node-agent-0" }, after: { invocation: "node-agent-1" } });
  expect(services.restarts).toBe(1);
  // There is nothing to undo.
  const undone = await rig.command("restartUnit", { unit: "node-agent" }, { ...how, epoch: 2, direction: "undo" });
  expect(undone.after).toEqual(services.agent);
  expect(services.restarts).toBe(1);
  supervisor.stop();
});

test("a stopped service is started, one that has failed too", async () => {
  await using rig = await HostRig.start(cluster());
  const services = new Services();
  const supervisor = await boot(rig.dir, services);
  services.gateway.state = "failed";
  services.gateway.invocation = null;

  expect(await rig.command("restartUnit", { unit: "gateway" }, order())).toMatchObject({
    before: { state: "failed" },
    after: { state: "running", invocation: "gateway-1" },
  });
  supervisor.stop();
});

test("a host is restarted once: every attempt before its return fails as one that may be repeated", async () => {
  await using rig = await HostRig.start(cluster());
  const services = new Services();
  let reboots = 0;
  let supervisor = await boot(rig.dir, services, () => reboots++);
  const first = await rig.read("getBoot", {});
  const how = order({ step: "reboot" });

  const lost = codeOf(rig.command("rebootHost", {}, how));
  await waitFor(
    () => reboots > 0,
    5_000,
    () => "nothing was restarted",
  );
  await rig.stopNode();
  expect(await lost).toBe("UNAVAILABLE");
  supervisor.stop();
  supervisor = await boot(rig.dir, services, () => reboots++);
  await rig.startNode();

  const answer = await rig.command("rebootHost", {}, { ...how, epoch: 2 });
  expect(answer.bootIdBefore).toBe(first.bootId);
  expect(answer.bootId).toBe((await rig.read("getBoot", {})).bootId);
  expect(answer.bootId).not.toBe(first.bootId);
  expect(await rig.command("rebootHost", {}, { ...how, epoch: 3 })).toEqual(answer);
  expect(reboots).toBe(1);
  supervisor.stop();
});

test("a supervisor that is not there is a failure of the tool", async () => {
  await using rig = await HostRig.start(cluster());

  expect(await codeOf(rig.read("getBoot", {}))).toBe("TOOL_FAILED");
  expect(await codeOf(rig.command("restartUnit", { unit: "gateway" }, order()))).toBe("TOOL_FAILED");
});

test("a folder too deep for the path of a socket has its socket elsewhere, for this user alone", async () => {
  const base = mkdtempSync(path.join(tmpdir(), "dv-deep-"));
  const dir = path.join(base, "x".repeat(120));
  mkdirSync(dir);
  const supervisor = await boot(dir, new Services());
  const socket = supervisorSocket(dir);

  expect(Buffer.byteLength(socket)).toBeLessThan(108);
  expect(statSync(path.dirname(socket)).mode & 0o077).toBe(0);
  expect((await createLabSupervisor(dir).list()).map(({ name }) => name)).toEqual(["gateway", "node-agent"]);
  supervisor.stop();
  rmSync(path.dirname(socket), { recursive: true });
  rmSync(base, { recursive: true });
});
