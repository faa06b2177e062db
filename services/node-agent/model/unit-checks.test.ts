// SPDX-License-Identifier: Apache-2.0
/** Units in the states that systemd reports. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { failedUnits, OWN_UNITS, parseUnits, skippedUnitChecks, unitChecks, unitNames } from "./unit-checks.ts";

/** A block as `systemctl show` of systemd 252 prints it. */
const block = (id: string, active: string, more: Record<string, string> = {}) =>
  Object.entries({
    Type: "simple",
    Result: "success",
    Id: id,
    LoadState: "loaded",
    ActiveState: active,
    SubState: "x",
    UnitFileState: "enabled",
    ...more,
  })
    .map(([key, value]) => `${key}=${value}`)
    .join("\n");
const check = (
  id: string,
  blocks: string[],
  needs: string[] = [],
  extra: string[] = [],
  journal: [string, string][] = [],
) =>
  unitChecks(parseUnits(blocks.join("\n\n")), new Set(needs), extra, new Map(journal)).find(
    (found) => found.id === `services.${id}`,
  );

test("reads one block per unit", () => {
  const units = parseUnits(
    `${block("a.service", "active")}\n\n${block("b.service", "failed", { Result: "exit-code" })}\n`,
  );

  expect(units.get("a.service")).toEqual({
    id: "a.service",
    load: "loaded",
    active: "active",
    sub: "x",
    enabled: "enabled",
    type: "simple",
    result: "success",
    unwanted: false,
  });
  expect(failedUnits(units)).toEqual(["b.service"]);
  expect(parseUnits("Id=\n\nnonsense\n=x").size).toBe(0);
});

test("asks for every unit once, and for our own by a pattern", () => {
  const names = unitNames(["named.service", "mine.timer"]);

  expect(names.filter((name) => name === "named.service")).toHaveLength(1);
  expect(names).toContain("mine.timer");
  expect(names.at(-1)).toBe(OWN_UNITS);
});

test("passes when any of the units that serve a need is active", () => {
  const blocks = [block("libvirtd.service", "inactive"), block("virtqemud.socket", "active")];

  expect(check("libvirtd", blocks, ["virsh"])).toMatchObject({ status: "passed" });
  expect(check("libvirtd", [], [])).toMatchObject({ status: "skipped" });
});

test("says that a needed unit is not installed", () => {
  const blocks = [block("kubelet.service", "inactive", { LoadState: "not-found" })];

  expect(check("kubelet", blocks, ["kubectl"])).toMatchObject({ status: "failed", critical: false });
});

test("shows the last journal lines of a failed unit", () => {
  const blocks = [block("named.service", "failed", { Result: "exit-code" })];
  const found = check("named", blocks, ["named"], [], [["named.service", "line 1\nline 2\n"]]);

  expect(found?.status).toBe("failed");
  expect(found?.message).toMatch(/exit-code.*\nline 1\nline 2$/);
});

test("warns about a unit that is starting, and fails one that is stopped", () => {
  expect(check("avahi-daemon", [block("avahi-daemon.service", "activating")], ["avahi-daemon"])).toMatchObject({
    status: "warned",
  });
  expect(check("avahi-daemon", [block("avahi-daemon.service", "reloading")], ["avahi-daemon"])).toMatchObject({
    status: "warned",
  });
  expect(check("mine.timer", [block("mine.timer", "inactive")], [], ["mine.timer"])).toMatchObject({
    status: "failed",
  });
});

test.each<[string, string, Record<string, string>, object]>([
  ["runs", "active", {}, { status: "passed" }],
  ["failed", "failed", {}, { status: "failed", critical: true }],
  ["should run and does not", "inactive", {}, { status: "failed", critical: true }],
  ["runs from time to time", "inactive", { Type: "oneshot" }, { status: "skipped" }],
  ["is not enabled", "inactive", { UnitFileState: "disabled" }, { status: "skipped" }],
])("judges a unit of ours that %s", (_title, active, more, expected) => {
  expect(check("debvisor-vm", [block("debvisor-vm.service", active, more)])).toMatchObject(expected);
});

test("does not miss a unit of ours that has no work on this machine", () => {
  const blocks = [
    block("debvisor-nats.service", "inactive", { ConditionResult: "no" }),
    block("debvisor-rpcd.service", "inactive", { ConditionResult: "yes" }),
  ];

  expect(check("debvisor-nats", blocks)).toMatchObject({ status: "skipped" });
  expect(check("debvisor-rpcd", blocks)).toMatchObject({ status: "failed" });
});

test("checks a unit of ours that is also configured once", () => {
  const units = parseUnits(block("debvisor-vm.service", "active"));

  const ids = unitChecks(units, new Set(), ["debvisor-vm.service"], new Map()).map(({ id }) => id);

  expect(ids.filter((id) => id === "services.debvisor-vm")).toHaveLength(1);
});

test("keeps the ids where systemd cannot be asked", () => {
  const checks = skippedUnitChecks(["mine.service"], "no systemd");

  expect(checks.every(({ status }) => status === "skipped")).toBe(true);
  expect(checks.map(({ id }) => id)).toContain("services.mine");
});

test("accepts any text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseUnits(text)));
});
