// SPDX-License-Identifier: Apache-2.0
/** Machines on hosts of a LAN: what is their own, how their units are supervised, and what a power cut leaves. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lan, startLan } from "../../support/lan.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import { Machine } from "../../support/node-machine.ts";
import { entry } from "../../support/node-machines.ts";
import { waitFor } from "../../support/wait-for.ts";

const lacking = lanLacks();

describe.skipIf(lacking.length > 0)(`a machine on a LAN (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let lan: Lan;
  let machine: Machine;
  beforeAll(async () => {
    lan = await startLan({ hosts: 2 });
    machine = new Machine(lan, 1, { files: { "greeting.txt": "hello\n" } });
    await machine.powerOn();
  });
  afterAll(async () => {
    await machine[Symbol.asyncDispose]();
    await lan[Symbol.asyncDispose]();
  });

  test("has a name, an /etc, a /run and processes of its own, and its host's address", async () => {
    const script = "hostname; cat /etc/debvisor/greeting.txt; ls /run; ls -d /proc/[0-9]* | wc -l; touch /etc/mark";
    const { stdout, stderr } = await machine.exec(["sh", "-c", script]);
    const [name, greeting, processes] = stdout.trim().split("\n");
    expect({ name, greeting, stderr }).toEqual({ name: "m2", greeting: "hello", stderr: "" });
    expect(Number(processes)).toBeLessThan(10);
    expect([hostname(), existsSync("/etc/mark"), existsSync("/etc/debvisor/greeting.txt")]).not.toContain("m2");
    expect(existsSync("/etc/mark")).toBe(false);
    expect((await machine.exec(["ip", "-o", "addr"])).stdout).toContain(machine.address());
  });

  test("starts a unit again after a kill with all that the unit had started, not after its end", async () => {
    const runs = path.join(machine.nodeDir, "runs");
    const program = `sleep 600 & echo "$!" >> "${runs}"; echo running; wait`;
    const unit = machine.supervise("looper", ["sh", "-c", program]);
    // The shell makes the file before it writes the line.
    const begun = () => (existsSync(runs) ? readFileSync(runs, "utf8").split("\n").filter(Boolean) : []);
    await waitFor(
      () => begun().length === 1,
      10_000,
      () => machine.tail(),
    );
    unit.kill();
    await waitFor(
      () => begun().length === 2,
      10_000,
      () => machine.tail(),
    );
    const asleep = async () => (await machine.exec(["pgrep", "-x", "sleep"])).stdout.split("\n");
    await expect.poll(asleep).toContain(begun()[1]);
    expect(await asleep()).not.toContain(begun()[0]);
    expect(machine.units()).toEqual(["looper"]);

    await unit.stop();
    expect(machine.units()).toEqual([]);
    const once = machine.supervise("once", ["true"]);
    await once.ended;
    expect(once.exits).toEqual([0]);
  });

  test("runs our entries: one that is no member says so and is tried again", async () => {
    const unit = machine.supervise("node-agent", entry(machine, "services/node-agent/main.ts"));
    await waitFor(
      () => unit.exits.length >= 2,
      15_000,
      () => machine.tail(),
    );
    await unit.stop();
    expect(unit.exits.slice(0, 2)).not.toContain(0);
    expect(machine.log.join("\n")).toContain("DATA_FOLDER_CORRUPT");
  });

  test("a power cut ends everything at once; the disk is there when power comes back, /run and processes are not", async () => {
    machine.supervise("sleeper", ["sleep", "600"]);
    await machine.exec(["touch", "/run/mark"]);
    writeFileSync(path.join(machine.nodeDir, "kept"), "kept\n");
    await machine.powerOff();
    expect([machine.isOn, machine.units()]).toEqual([false, []]);
    const pids = (await lan.exec(1, ["ip", "netns", "pids", lan.namespace(1)])).stdout;
    expect(pids.trim().split("\n").length).toBeLessThanOrEqual(1);

    await machine.powerOn();
    const { stdout } = await machine.exec(["sh", "-c", `cat "${machine.nodeDir}/kept"; ls /run; pgrep -c sleep`]);
    expect(stdout.trim().split("\n")).toEqual(["kept", "1"]);
  });
});
