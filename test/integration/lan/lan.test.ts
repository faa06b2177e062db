// SPDX-License-Identifier: Apache-2.0
/** The LAN of namespaces that other tests stand on: each of its functions, seen by traffic between programs on its hosts. */
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lan, startLan } from "../../support/lan.ts";
import { lanLacks, namespaces, run } from "../../support/lan-namespaces.ts";
import { waitFor } from "../../support/wait-for.ts";

const PORT = 7000;
const GREETER = path.join(import.meta.dirname, "greeter.ts");
const lacking = lanLacks();

/** What the host at an address says; "" when nothing comes within the time. */
async function greeting(lan: Lan, from: number, address: string, patience = "2"): Promise<string> {
  const script = `exec 3<>/dev/tcp/${address}/${PORT}; cat <&3`;
  return (await lan.exec(from, ["timeout", patience, "bash", "--norc", "-c", script])).stdout;
}

/** What comes within a time in which everything that can come has come. */
function silence(lan: Lan, from: number, ...addresses: string[]): Promise<string[]> {
  return Promise.all(addresses.map((address) => greeting(lan, from, address, "0.3")));
}

async function greet(lan: Lan, host: number, ...group: string[]): Promise<ChildProcess> {
  const child = lan.spawn(host, [process.execPath, GREETER, `host${host}`, String(PORT), ...group]);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => (output += String(text)));
  await waitFor(
    () => output.includes("ready"),
    5_000,
    () => output,
  );
  return child;
}

describe.skipIf(lacking.length > 0)(`a LAN of namespaces (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let lan: Lan;
  beforeAll(async () => {
    lan = await startLan({ hosts: 3 });
    await Promise.all([0, 1, 2].map((host) => greet(lan, host, "239.77.0.1", "7001")));
  });
  afterAll(() => lan[Symbol.asyncDispose]());

  test("carries TCP over IPv4 and IPv6 and multicast between its hosts", async () => {
    expect(await greeting(lan, 0, lan.address(1))).toBe("host1");
    expect(await greeting(lan, 2, lan.address6(0))).toBe("host0");
    const ask = `const s = require("node:dgram").createSocket("udp4"); const names = new Set();
      s.on("message", (m) => { names.add(String(m)); if (names.size === 3) { console.log([...names].sort().join()); s.close(); } });
      s.send("hello", 7001, "239.77.0.1");`;
    const heard = await lan.exec(1, [process.execPath, "-e", ask], { timeoutMs: 3_000 });
    expect(heard.stdout.trim()).toBe("host0,host1,host2");
  });

  test("a host whose cable is out hears nobody; at once after it is in again everybody hears it", async () => {
    for (let round = 0; round < 3; round++) {
      await lan.link(1, "down");
      expect(await silence(lan, 0, lan.address(1), lan.address6(1))).toEqual(["", ""]);
      expect(await silence(lan, 1, lan.address6(2))).toEqual([""]);

      await lan.link(1, "up");
      const heard = await Promise.all([
        greeting(lan, 0, lan.address(1)),
        greeting(lan, 2, lan.address6(1)),
        greeting(lan, 1, lan.address(0)),
        greeting(lan, 1, lan.address6(2)),
      ]);
      expect(heard).toEqual(["host1", "host1", "host0", "host2"]);
    }
  });

  test("a split switch keeps its halves apart, another split regroups, and healing joins all", async () => {
    await lan.cut([0], [1, 2]);
    expect(await greeting(lan, 1, lan.address(2))).toBe("host2");
    expect(await silence(lan, 0, lan.address(1), lan.address6(2))).toEqual(["", ""]);

    await lan.cut([0, 1], [2]);
    await lan.heal();

    const pairs = [0, 1, 2].flatMap((from) => [0, 1, 2].filter((to) => to !== from).map((to) => [from, to] as const));
    const heard = await Promise.all(pairs.map(([from, to]) => greeting(lan, from, lan.address(to))));
    expect(heard).toEqual(pairs.map(([, to]) => `host${to}`));
  });

  test("a host's cable can come back while the switch is split", async () => {
    await lan.link(2, "down");
    await lan.cut([0], [1, 2]);
    await lan.link(2, "up");
    expect(await greeting(lan, 1, lan.address(2))).toBe("host2");
    expect(await silence(lan, 0, lan.address(2))).toEqual([""]);
    await lan.heal();
    expect(await greeting(lan, 0, lan.address(2))).toBe("host2");
  });

  test("what was started on a host is that program: its process id ends it", async () => {
    const child = lan.spawn(0, ["sleep", "60"]);
    await sleep(100);
    process.kill(child.pid ?? 0, "SIGTERM");
    const signal = await new Promise((resolve) => child.once("close", (_code, name) => resolve(name)));
    expect(signal).toBe("SIGTERM");
  });
});

describe.skipIf(lacking.length > 0)("other LANs", () => {
  test("with IPv6 only there is no IPv4 address, and traffic passes", async () => {
    await using lan = await startLan({ hosts: 2, ipv6Only: true });
    await greet(lan, 1);
    expect(await greeting(lan, 0, lan.address(1))).toBe("host1");
    expect((await lan.exec(0, ["ip", "-4", "-o", "addr", "show", "scope", "global"])).stdout).toBe("");
  });

  test("with two networks each has its own cable, and without a default route neither leads elsewhere", async () => {
    await using lan = await startLan({ hosts: 2, networks: 2, defaultRoute: false });
    await greet(lan, 1);
    await lan.link(1, "down", 0);
    expect(await greeting(lan, 0, lan.address(1, 1))).toBe("host1");
    expect(await silence(lan, 0, lan.address(1, 0))).toEqual([""]);
    expect((await lan.exec(0, ["ip", "route", "show", "default"])).stdout).toBe("");
  });

  test("of a killed test process nothing runs on, and its namespaces go at the next start", async () => {
    const owner = spawn(process.execPath, [path.join(import.meta.dirname, "abandoned-lan.ts")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    owner.stdout.on("data", (text) => (output += String(text)));
    await waitFor(
      () => output.endsWith("\n"),
      10_000,
      () => output,
    );
    const { pid, namespace } = JSON.parse(output) as { pid: number; namespace: string };
    expect(namespaces()).toContain(namespace);

    owner.kill("SIGKILL");
    await new Promise((resolve) => owner.once("close", resolve));
    await waitFor(
      async () => (await run(["ps", "-p", String(pid)])).code !== 0,
      10_000,
      () => "the program runs on",
    );
    await using _lan = await startLan({ hosts: 1 });
    expect(namespaces()).not.toContain(namespace);
  });
});
