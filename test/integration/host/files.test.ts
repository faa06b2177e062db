// SPDX-License-Identifier: Apache-2.0
/** Orders about files, over a real bus and under a real ledger: once each, in order of their fences, undone without a trace. */
import { chmodSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { RecordBody } from "@debvisor/proto-events/audit";
import { hostContract } from "@debvisor/proto-events/host";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { StoredEvent } from "@debvisor/shared/bus/bus";
import { expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { codeOf, HostRig, order } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });

async function eventsOf(rig: HostRig, count: number, act: () => Promise<unknown>): Promise<StoredEvent[]> {
  const gateway = await cluster().connectCore("gateway");
  const seen: StoredEvent[] = [];
  const reader = await gateway.readEvents({
    onEvent: (event) => void (event.origin === rig.id && event.type.startsWith("host.") && seen.push(event)),
  });
  await act();
  await waitFor(
    () => seen.length >= count,
    10_000,
    () => `saw ${JSON.stringify(seen)}`,
  );
  await reader.stop();
  await gateway.close();
  return seen;
}

test("a file is read, compared and written; the change is told as an event", async () => {
  await using rig = await HostRig.start(cluster());
  writeFileSync(path.join(rig.root, "etc/motd"), "one\n");
  chmodSync(path.join(rig.root, "etc/motd"), 0o640);
  const target = { contentBase64: Buffer.from("two\n").toString("base64"), mode: null, owner: null, group: null };

  const planned = await rig.read("getFile", { path: "/etc/motd", target, diff: true });
  expect(planned).toMatchObject({ changed: true, state: { mode: "0640", sizeBytes: 4 } });
  expect(planned.diff).toContain("-one\n+two\n");

  const how = order();
  let answer: unknown;
  const [told] = await eventsOf(rig, 1, async () => {
    answer = await rig.write("/etc/motd", "two\n", how);
  });

  expect(answer).toMatchObject({ changed: true, before: planned.state, after: { mode: "0640" } });
  expect(JSON.parse(told?.json ?? "{}")).toMatchObject({ data: { path: "/etc/motd", before: planned.state } });
  expect(told?.type).toBe("host.file.changed");
  expect((await rig.read("getFile", { path: "/etc/motd", target, diff: true })).changed).toBe(false);
  expect(await rig.write("/etc/motd", "two\n", order())).toMatchObject({ changed: false, backup: null });
});

test("a repeated order does nothing again, and its undo leaves the folder as it was", async () => {
  await using rig = await HostRig.start(cluster());
  writeFileSync(path.join(rig.root, "etc/motd"), "old");
  const before = rig.etc();
  const how = order();

  const first = await rig.write("/etc/motd", "new", how);
  const after = rig.etc();
  await rig.stopNode();
  await rig.startNode();
  const again = await rig.write("/etc/motd", "new", { ...how, epoch: 2 });
  expect(again).toEqual(first);
  expect(rig.etc()).toEqual(after);

  const undone = await rig.write("/etc/motd", "new", { ...how, epoch: 2, direction: "undo" });
  expect(undone).toMatchObject({ changed: true, before: first.after, after: first.before });
  expect(await rig.write("/etc/motd", "new", { ...how, epoch: 3, direction: "undo" })).toEqual(undone);
  expect(rig.etc()).toEqual(before);
  expect(await codeOf(rig.write("/etc/motd", "new", { ...how, epoch: 3 }))).toBe("COMMAND_FENCED");
});

test("a removal is undone, a new file is taken away, and the undo of what never began changes nothing", async () => {
  await using rig = await HostRig.start(cluster());
  writeFileSync(path.join(rig.root, "etc/motd"), "old");
  const before = rig.etc();

  const removed = order();
  expect(await rig.write("/etc/motd", null, removed)).toMatchObject({ changed: true, after: null });
  expect(existsSync(path.join(rig.root, "etc/motd"))).toBe(false);
  await rig.write("/etc/motd", null, { ...removed, direction: "undo" });
  const made = order();
  await rig.write("/etc/issue", "hello", made);
  await rig.write("/etc/issue", "hello", { ...made, direction: "undo" });
  const never = await rig.write("/etc/motd", "x", order({ direction: "undo" }));

  expect(never).toMatchObject({ changed: false, before: { sizeBytes: 3 }, after: { sizeBytes: 3 } });
  expect(rig.etc()).toEqual(before);
});

test("of two operations on one file the newer fence wins, and the older one is refused from then on", async () => {
  await using rig = await HostRig.start(cluster());
  const resource = `node/${rig.id}/file/etc/motd`;
  const orders = Array.from({ length: 12 }, (_, i) => order({ resource, fence: i + 1 }));

  const answers = await Promise.all(orders.map((how, i) => codeOf(rig.write("/etc/motd", `content ${i}`, how))));

  // Whichever came first: each either wrote or was overtaken, the newest one wrote last.
  expect(answers.at(-1)).toBe("no error");
  expect(new Set(answers).isSubsetOf(new Set(["no error", "COMMAND_FENCED"]))).toBe(true);
  expect(readFileSync(path.join(rig.root, "etc/motd"), "utf8")).toBe("content 11");
  const late = await codeOf(rig.write("/etc/motd", "late", order({ resource, fence: 3 })));
  expect(late).toBe("COMMAND_FENCED");
  const backups = readdirSync(path.join(rig.root, "etc")).filter((name) => name.includes("dv-backup"));
  expect(backups).toHaveLength(answers.filter((answer) => answer === "no error").length - 1);
  expect(readdirSync(path.join(rig.root, "etc"))).toHaveLength(backups.length + 1);
});

test("an undo does not overwrite what somebody else wrote since", async () => {
  await using rig = await HostRig.start(cluster());
  const how = order();
  await rig.write("/etc/motd", "ours", how);
  writeFileSync(path.join(rig.root, "etc/motd"), "theirs");

  const undo = rig.write("/etc/motd", "ours", { ...how, direction: "undo" });

  await expect(undo).rejects.toMatchObject({ code: "CONFLICT", details: { now: expect.stringContaining("6 bytes") } });
  expect(readFileSync(path.join(rig.root, "etc/motd"), "utf8")).toBe("theirs");
  // Once the cause is removed, the same undo goes on.
  writeFileSync(path.join(rig.root, "etc/motd"), "ours");
  await rig.write("/etc/motd", "ours", { ...how, direction: "undo" });
  expect(existsSync(path.join(rig.root, "etc/motd"))).toBe(false);
});

test("paths that lead elsewhere are refused, with the largest content too", async () => {
  await using rig = await HostRig.start(cluster());
  symlinkSync("/etc/passwd", path.join(rig.root, "etc/link"));
  symlinkSync("/tmp", path.join(rig.root, "tmp"));

  for (const file of ["/etc/link", "/tmp/x", "/etc/missing/x", "/etc"]) {
    expect(await codeOf(rig.write(file, "x", order()))).toBe("PATH_REFUSED");
    expect(await codeOf(rig.read("getFile", { path: file }))).toBe("PATH_REFUSED");
  }
  for (const file of ["/../x", "/etc/../../x", "/etc//x", "relative", "/etc/x/", "/"])
    expect(await codeOf(rig.write(file, "x", order()))).toBe("INVALID_ARGUMENT");
  const large = Buffer.alloc(262_144 - 2, 7);
  expect(await rig.write("/etc/large", large, order())).toMatchObject({ changed: true });
  expect(readFileSync(path.join(rig.root, "etc/large")).equals(large)).toBe(true);
  const target = { contentBase64: "AAA=", mode: null, owner: null, group: null };
  expect((await rig.read("getFile", { path: "/etc/large", target, diff: true })).diff).toBeNull();
});

test("an order without an envelope is refused, told at most once a second, and changes nothing", async () => {
  await using rig = await HostRig.start(cluster());
  const refusals = await eventsOf(rig, 2, () =>
    Promise.all(
      Array.from({ length: 40 }, async () => {
        const input = { path: "/etc/motd", target: null };
        expect(await codeOf(rig.core.request(rig.id, hostContract, "writeFile", input))).toBe("COMMAND_REFUSED");
      }),
    ),
  );

  const told = refusals.map(({ json }) => (JSON.parse(json) as { data: { count: number; cause: string } }).data);
  expect(told.map(({ cause }) => cause)).toEqual(["missing", "missing"]);
  expect(told.reduce((sum, { count }) => sum + count, 0)).toBe(40);
  const audit = await cluster().connectCore("audit");
  let trail: RecordBody[] = [];
  await waitFor(
    async () => {
      const entries = await audit.journal("DV_AUDIT").read(rig.id);
      trail = entries.map(({ text }) => JSON.parse(text) as RecordBody);
      return trail.length >= 3;
    },
    10_000,
    () => `the trail has ${JSON.stringify(trail)}`,
  );
  expect(trail.map(({ kind }) => kind)).toEqual(["start", "refusal", "refusal"]);
  expect(trail.at(-1)).toMatchObject({
    action: "host.write-file",
    targets: [rig.id],
    result: { status: "refused", code: "COMMAND_REFUSED" },
  });
  await audit.close();
  expect(rig.etc()).toEqual([]);
});

test("the census sees the node agent, although its two contracts are heard over one connection", async () => {
  await using rig = await HostRig.start(cluster());
  const notAsked = () => Promise.reject(new Error("not asked in this test"));
  const agent = await rig.bus.serve(nodeAgentContract, "node", {
    getFacts: notAsked,
    getMetrics: notAsked,
    checkHealth: notAsked,
  });
  const gateway = await cluster().connectCore("gateway");

  const instances = await gateway.instances(500);

  const own = instances.filter(({ metadata }) => metadata["node"] === rig.id);
  expect(own.map(({ service }) => service).sort()).toEqual(["node-agent"]);
  await agent.stop();
  await gateway.close();
});
