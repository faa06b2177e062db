// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseUnitStates, serviceNameOf, systemdNames } from "./unit-state.ts";

const SAMPLE = readFileSync(
  new URL("../drivers/samples/systemctl-252-show-unix-hand-made.txt", import.meta.url),
  "utf8",
);

describe("units", () => {
  it("are read from systemctl show; what does not exist is left out, and ours go by the name of the service", () => {
    expect(parseUnitStates(SAMPLE)).toEqual([
      {
        name: "gateway",
        state: "running",
        invocation: "6c3f1c0e7f0b4c7d9b0f3e7f5a1f4a55",
        startedAt: "2026-01-02T03:04:05.000Z",
      },
      { name: "node-agent", state: "starting", invocation: "0b9a7c52d7a44f6f8e8f6b1f2f2d6c11", startedAt: null },
      { name: "discovery", state: "failed", invocation: null, startedAt: null },
      { name: "ssh.service", state: "stopped", invocation: null, startedAt: null },
    ]);
  });

  it("are left out when their conditions are not met and they do not run", () => {
    const block = (id: string, active: string, condition: string) =>
      [`Id=${id}`, "LoadState=loaded", `ActiveState=${active}`, `ConditionResult=${condition}`].join("\n");
    const text = [
      block("debvisor-nats.service", "inactive", "no"),
      block("debvisor-audit.service", "inactive", "yes"),
      block("debvisor-join.service", "active", "no"),
    ].join("\n\n");
    expect(parseUnitStates(text).map(({ name }) => name)).toEqual(["audit", "join"]);
  });

  it("are none in an answer that is not what was expected", () => {
    expect(parseUnitStates("")).toEqual([]);
    expect(parseUnitStates("Failed to connect to bus\n\n=\nId=\n")).toEqual([]);
  });

  it.each([
    ["node-agent", "node-agent", "debvisor-node-agent.service"],
    ["debvisor-node-agent", "node-agent", "debvisor-node-agent.service"],
    ["debvisor-node-agent.service", "node-agent", "debvisor-node-agent.service"],
    ["gateway", "gateway", "debvisor-rpcd.service"],
    ["debvisor-gateway", "gateway", "debvisor-rpcd.service"],
    ["debvisor-rpcd", "gateway", "debvisor-rpcd.service"],
    ["debvisor-rpcd.service", "gateway", "debvisor-rpcd.service"],
    // An alias of the unit; systemd knows it by this name too.
    ["debvisor-gateway.service", "gateway", "debvisor-gateway.service"],
  ])("go by several names: %s", (name, service, unit) => {
    expect(serviceNameOf(name)).toBe(service);
    expect(systemdNames(name)[0]).toBe(unit);
  });

  it("of others go by their own name, ours first", () => {
    expect(systemdNames("ssh")).toEqual(["debvisor-ssh.service", "ssh.service"]);
    expect(systemdNames("fstrim.timer")).toEqual(["fstrim.timer"]);
  });
});
