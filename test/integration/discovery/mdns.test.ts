// SPDX-License-Identifier: Apache-2.0
/**
 * mDNS on a real network: several instances of ours on the loopback, and, where this machine allows it, one of ours and an
 * Avahi in network namespaces of their own. Others may use the loopback's group at the same time: each test looks at its own
 * node ids only.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Browse, createMdns, type Mdns } from "@debvisor/shared/drivers/mdns";
import type { CandidateChange } from "@debvisor/shared/drivers/mdns-candidates";
import { verifyTag } from "@debvisor/shared/drivers/mdns-tag";
import { afterEach, expect, test } from "vitest";
import { announcement, KEY, nodeId, until, word } from "./instance.ts";

const open: Mdns[] = [];

async function loopback(): Promise<Mdns> {
  const mdns = await createMdns({
    interfaces: ["127.0.0.1"],
    verify: ({ salt, tag }) => verifyTag(KEY, salt, tag),
    onError: (error) => expect.unreachable(error.message),
  });
  open.push(mdns);
  return mdns;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((mdns) => mdns.close()));
});

test("three instances on the loopback see each other with the loopback's address only", async () => {
  const ids = [1, 2, 3].map((n) => nodeId("lo", n));
  const sessions = await Promise.all(ids.map(loopback));
  for (const [at, mdns] of sessions.entries()) mdns.advertise(announcement(ids[at] ?? ""));
  const browses = sessions.map((mdns) => mdns.browse(() => undefined));

  const ours = (browse: Browse) => browse.list().filter(({ instance }) => ids.includes(instance));
  await until(() => browses.every((one) => ours(one).length === 3), 5_000, "all see all");

  for (const browse of browses) {
    for (const { addresses, verified, port } of ours(browse)) {
      expect({ addresses, verified, port }).toEqual({ addresses: ["127.0.0.1"], verified: true, port: 7443 });
    }
  }
});

test("a changed TXT is seen without a departure, and a goodbye within half a second", async () => {
  const nid = nodeId("up", 1);
  const [node, watcher] = [await loopback(), await loopback()];
  const advertisement = node.advertise(announcement(nid));
  const seen: string[] = [];
  const browse = watcher.browse((change) => change.candidate.instance === nid && seen.push(word(change)));
  const mine = () => browse.list().find(({ instance }) => instance === nid);
  await until(() => seen.length === 1, 5_000, "seen");

  advertisement.update({ st: "ready" });
  await until(() => mine()?.txt.st === "ready", 1_000, "the update");
  const before = performance.now();
  await advertisement.stop();
  expect(performance.now() - before).toBeLessThan(350);
  await until(() => mine() === undefined, 500, "the goodbye");

  expect(seen).toEqual([`up ${nid}`, `updated ${nid}`, `goodbye ${nid}`]);
});

test("an instance that vanishes without a goodbye is dropped after a silence, one that answers is not", async () => {
  const [dead, alive] = [nodeId("dead", 1), nodeId("live", 1)];
  const watcher = await loopback();
  (await loopback()).advertise(announcement(alive));
  const child = spawn(process.execPath, [
    fileURLToPath(new URL("advertise-child.ts", import.meta.url)),
    "127.0.0.1",
    dead,
  ]);
  const seen: string[] = [];
  const note = (change: CandidateChange) =>
    [dead, alive].includes(change.candidate.instance) && seen.push(word(change));
  watcher.browse(note, { refreshMs: 400, expireMs: 1_600 });
  await until(() => seen.length === 2, 10_000, "both seen");

  child.kill("SIGKILL");
  await until(() => seen.length === 3, 5_000, "the dead one dropped");
  await sleep(1_000);

  expect(seen.sort()).toEqual([`expired ${dead}`, `up ${alive}`, `up ${dead}`].sort());
});

test("a scan of one second finds who is there, and an unknown interface is refused", async () => {
  const nid = nodeId("scan", 1);
  (await loopback()).advertise(announcement(nid));

  const found = await (await loopback()).scan(1_000);

  expect(found.map(({ instance }) => instance)).toContain(nid);
  const refused = createMdns({ interfaces: ["no-such-interface"], onError: () => undefined });
  await expect(refused).rejects.toMatchObject({ code: "MDNS_UNAVAILABLE" });
});

const outside = Object.values(networkInterfaces()).flatMap((infos) =>
  (infos ?? []).filter(({ family, internal }) => family === "IPv4" && !internal),
);

test.skipIf(outside.length === 0)(
  "what is announced on the loopback is not seen on a network interface (needs one besides the loopback)",
  async () => {
    const nid = nodeId("in", 1);
    (await loopback()).advertise(announcement(nid));
    const lan = await createMdns({ interfaces: [outside[0]?.address ?? ""], onError: () => undefined });
    open.push(lan);

    const found = await lan.scan(700);

    expect(found.map(({ instance }) => instance)).not.toContain(nid);
  },
);

const PROGRAMS = [
  "/usr/sbin/avahi-daemon",
  "/usr/bin/avahi-browse",
  "/usr/bin/avahi-publish-service",
  "/usr/bin/dbus-daemon",
];
const lacking = [
  ...(process.getuid?.() === 0 ? [] : ["root"]),
  ...PROGRAMS.filter((program) => !existsSync(program)),
  ...(canUseNamespaces() ? [] : ["network namespaces"]),
];

test.skipIf(lacking.length > 0)(
  `Avahi and our node see each other's records, updates and goodbyes in network namespaces (lacking here: ${lacking.join(", ") || "nothing"})`,
  { timeout: 60_000 },
  () => {
    const script = fileURLToPath(new URL("avahi-peer.sh", import.meta.url));
    const child = fileURLToPath(new URL("advertise-child.ts", import.meta.url));

    const output = execFileSync("bash", [script, process.execPath, child], { encoding: "utf8", timeout: 50_000 });

    const [ours, theirs] = [nodeId("ours", 1), "avahipeer2345672"];
    const sections = Object.fromEntries(output.split(/^== /m).map((part) => [part.split("\n")[0], part]));
    expect(sections["avahi-sees-us"]).toContain(`;${ours};_debvisor._tcp;local;${ours}.local;10.77.`);
    expect(sections["avahi-sees-us"]).toContain('"st=joining"');
    expect(sections["avahi-sees-our-update"]).toContain('"st=ready"');
    expect(sections["avahi-sees-our-update"]).not.toContain('"st=joining"');
    expect(sections["avahi-resolves-us"]).toContain("10.77.");
    expect(sections["avahi-after-our-goodbye"]).not.toContain(ours);
    expect(sections["we-see"]).toMatch(new RegExp(`up ${theirs} 7443 10\\.77\\.\\d+\\.2`));
    expect(sections["we-see"]).toContain(`goodbye ${theirs}`);
  },
);

function canUseNamespaces(): boolean {
  const name = `dv-probe-${process.pid}`;
  try {
    execFileSync("ip", ["netns", "add", name], { stdio: "ignore" });
    execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
