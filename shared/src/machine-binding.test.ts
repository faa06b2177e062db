// SPDX-License-Identifier: Apache-2.0
/** On which machine a node's key may be used, with the files of machines below a folder of the test's own. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, it } from "vitest";
import { openNode, rebind, rebindTold, untoldRebind } from "./machine-binding.ts";
import { createIdentity, json, nodePaths, readNode, writePrivateFile } from "./node-files.ts";

const ID = "0123456789abcdef0123456789abcdef";
const OTHER_ID = "fedcba9876543210fedcba9876543210";
const UUID = "4C4C4544-0042-3510-8054-B7C04F4E4E32";
const NOW = "2026-11-28T12:00:00.000Z";
const OTHER_UUID = "4C4C4544-0042-3510-8054-B7C04F4E4E33";

const folder = mkdtempSync(join(tmpdir(), "dv-binding-"));
afterAll(() => rmSync(folder, { recursive: true }));

let dir: string;
let root: string;
beforeEach(() => {
  const machine = mkdtempSync(join(folder, "m-"));
  dir = join(machine, "node");
  root = join(machine, "root");
  const { id, pem } = createIdentity();
  writePrivateFile(nodePaths(dir).identity, pem);
  writePrivateFile(nodePaths(dir).node, json({ version: 1, id, name: "n1", roles: ["worker"], incarnation: 1, root }));
});

/** What the machine says of itself from now on; undefined: the file is not there. */
function machineIs(machineId: string | undefined, uuid: string | undefined): void {
  rmSync(root, { recursive: true, force: true });
  for (const [file, text] of [
    ["etc/machine-id", machineId],
    ["sys/class/dmi/id/product_uuid", uuid],
  ] as const) {
    mkdirSync(join(root, file, ".."), { recursive: true });
    if (text !== undefined) writeFileSync(join(root, file), `${text}\n`);
  }
}

/** The code with which the node is refused; undefined: it may start. */
function refusal(): unknown {
  try {
    openNode(dir);
    return undefined;
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

it("binds a folder of an older version at its next start, for its owner's eyes only", () => {
  machineIs(ID, UUID);
  expect(openNode(dir).name).toBe("n1");

  const { binding } = nodePaths(dir);
  expect(statSync(binding).mode & 0o777).toBe(0o600);
  expect(readFileSync(binding, "utf8")).not.toMatch(new RegExp(`${ID}|${UUID}`, "i"));
  expect(refusal()).toBeUndefined();
});

it.each([
  ["another machine id", OTHER_ID, UUID, /machine-id differs/],
  ["other hardware", ID, OTHER_UUID, /UUID \(DMI\) differs/],
  ["another machine", OTHER_ID, OTHER_UUID, /machine-id and the hardware's UUID \(DMI\) differ here/],
])("refuses the key on %s, and names both ways out", (_what, machineId, uuid, why) => {
  machineIs(ID, UUID);
  const { id } = openNode(dir);
  const before = readFileSync(nodePaths(dir).binding, "utf8");
  machineIs(machineId, uuid);

  expect(refusal()).toBe("KEY_BOUND_ELSEWHERE");
  expect(() => openNode(dir)).toThrow(why);
  expect(() => openNode(dir)).toThrow(`dvctl nodes reset ${id} --confirm`);
  expect(() => openNode(dir)).toThrow(`dvctl nodes rebind ${id} --confirm`);
  expect(readFileSync(nodePaths(dir).binding, "utf8")).toBe(before);
});

it("is used on the other machine once it is bound to that, and on the first one no more", () => {
  machineIs(ID, UUID);
  openNode(dir);
  machineIs(OTHER_ID, OTHER_UUID);
  expect(untoldRebind(dir)).toBeUndefined();
  expect(rebind(dir, readNode(dir), NOW)).toHaveLength(2);
  expect(refusal()).toBeUndefined();
  expect(untoldRebind(dir)).toBe(NOW);
  rebindTold(dir, "2026-11-28T11:00:00.000Z");
  expect(untoldRebind(dir)).toBe(NOW);
  rebindTold(dir, NOW);
  expect(untoldRebind(dir)).toBeUndefined();
  expect(refusal()).toBeUndefined();
  machineIs(ID, UUID);

  expect(refusal()).toBe("KEY_BOUND_ELSEWHERE");
});

it.each<[string, [string | undefined, string | undefined], [string | undefined, string | undefined]]>([
  ["no hardware UUID when it was bound", [ID, undefined], [ID, OTHER_UUID]],
  ["no hardware UUID that may be read now", [ID, UUID], [ID, undefined]],
  ["no machine id now", [ID, UUID], [undefined, UUID]],
  ["the UUID in other letters", [ID, UUID], [ID, UUID.toLowerCase()]],
])("compares what it knows: %s", (_what, before, after) => {
  machineIs(...before);
  openNode(dir);
  machineIs(...after);

  expect(refusal()).toBeUndefined();
});

it("waits with binding until the machine has an id", () => {
  machineIs("uninitialized", undefined);
  expect(refusal()).toBeUndefined();
  expect(existsSync(nodePaths(dir).binding)).toBe(false);
  machineIs(ID, undefined);
  openNode(dir);
  machineIs(OTHER_ID, undefined);

  expect(refusal()).toBe("KEY_BOUND_ELSEWHERE");
});

it("is not fooled by the binding of another key", () => {
  machineIs(ID, UUID);
  openNode(dir);
  const { id, pem } = createIdentity();
  writePrivateFile(nodePaths(dir).identity, pem);
  writePrivateFile(nodePaths(dir).node, json({ ...readJson(nodePaths(dir).node), id }));

  expect(refusal()).toBe("KEY_BOUND_ELSEWHERE");
});

it("says so when the binding is damaged", () => {
  machineIs(ID, UUID);
  writePrivateFile(nodePaths(dir).binding, "{");

  expect(refusal()).toBe("DATA_FOLDER_CORRUPT");
});

function readJson(file: string): object {
  return JSON.parse(readFileSync(file, "utf8")) as object;
}
