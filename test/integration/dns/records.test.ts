// SPDX-License-Identifier: Apache-2.0
/** Records changed on a real primary and its secondary: what is written, verified, refused and undone. */
import { ChangeResult } from "@debvisor/proto-events/dns-data";
import { afterAll, test as base, beforeAll, describe, expect } from "vitest";
import { startBind, type TestBind } from "../../support/bind.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type DnsRig, lacking, startDns } from "./rig.ts";

const test = base.skipIf(lacking.length > 0);
const cluster = sharedBusCluster({ servers: 1 });
let bind: TestBind;
let dns: DnsRig;
let count = 0;

beforeAll(async () => {
  if (lacking.length > 0) return;
  bind = await startBind();
  dns = await startDns(cluster());
  await dns.configure(bind);
});
afterAll(async () => {
  await dns?.[Symbol.asyncDispose]();
  await bind?.[Symbol.asyncDispose]();
});

/** A host that no other test uses, with an address of its own. */
function host() {
  const number = ++count;
  return { name: `web${number}`, full: `web${number}.debvisor.local`, address: `192.0.2.${number}` };
}

function reverse(address: string): string {
  return `${address.split(".").reverse().join(".")}.in-addr.arpa`;
}

const secondary = () => bind.secondary?.port ?? 0;

describe("a change", () => {
  test("writes address and PTR, is on the secondary as well, and says so for each server", async () => {
    const { name, full, address } = host();

    const done = await dns.change({ changes: [{ name, data: [address], ptr: true }] });

    expect(done.state).toBe("succeeded");
    const { propagated, zones } = ChangeResult.parse(done.result);
    expect(propagated).toBe(true);
    expect(zones.map(({ zone, server }) => [zone, server])).toEqual([
      ["debvisor.local", "ns1"],
      ["2.0.192.in-addr.arpa", "ns1"],
    ]);
    expect(zones[0]?.servers.map(({ server, status }) => [server, status])).toEqual([
      ["ns1", "same"],
      ["ns2", "same"],
    ]);
    expect(await bind.dig(full, "A", secondary())).toEqual([address]);
    expect(await bind.dig(reverse(address), "PTR", secondary())).toEqual([`${full}.`]);
  });

  test("of an IPv6 address writes AAAA and its PTR", async () => {
    const { name, full } = host();

    await dns.change({ changes: [{ name, data: ["2001:DB8:0:0::7"], ptr: true, ttl: 300 }] });

    expect(await bind.dig(full, "AAAA")).toEqual(["2001:db8::7"]);
    const label = `7.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`;
    expect(await bind.dig(label, "PTR")).toEqual([`${full}.`]);
  });

  test("to another address takes the PTR of the former one along", async () => {
    const one = host();
    const other = host();
    await dns.change({ changes: [{ name: one.name, data: [one.address], ptr: true }] });

    await dns.change({ changes: [{ name: one.name, data: [other.address], ptr: true }] });

    expect(await bind.dig(reverse(one.address), "PTR")).toEqual([]);
    expect(await bind.dig(reverse(other.address), "PTR")).toEqual([`${one.full}.`]);
  });

  test("that changes nothing sends nothing", async () => {
    const { name, address } = host();
    await dns.change({ changes: [{ name, data: [address] }] });
    const serial = await bind.dig("debvisor.local", "SOA");

    const again = await dns.change({ changes: [{ name, data: [address] }] });

    expect(again).toMatchObject({ state: "succeeded", plan: { steps: [], effects: [] } });
    expect(await bind.dig("debvisor.local", "SOA")).toEqual(serial);
  });

  test("of every kind of record reads back as it was written", async () => {
    const { name, full } = host();
    const data = {
      MX: ["10 ns1", "20 mail.example.org."],
      TXT: ['v=spf1 -all; "quoted" \\ ü', '"one" "two"'],
      SRV: ["0 5 5060 sip"],
      CNAME: ["Elsewhere.Example.ORG"],
    } as const;
    for (const [type, values] of Object.entries(data)) {
      const done = await dns.change({
        changes: [{ name: `${type.toLowerCase()}-${name}`, type: type as "MX", data: [...values] }],
      });
      expect([type, done.state, done.error]).toEqual([type, "succeeded", null]);
    }
    expect(await bind.dig(`mx-${full}`, "MX")).toEqual(["10 ns1.debvisor.local.", "20 mail.example.org."]);
  });

  test("set of 100 goes in one message and one serial", async () => {
    const before = Number((await bind.dig("debvisor.local", "SOA"))[0]?.split(" ")[2]);
    const changes = Array.from({ length: 100 }, (_, i) => ({ name: `many-${i}`, data: [`192.0.2.${i}`] }));

    const done = await dns.change({ changes });

    expect(done).toMatchObject({ state: "succeeded", result: { propagated: true } });
    expect(Number((await bind.dig("debvisor.local", "SOA"))[0]?.split(" ")[2])).toBe(before + 1);
  });
});

describe("undoing", () => {
  test("a new record removes it", async () => {
    const { name, full, address } = host();
    const { id } = await dns.change({ changes: [{ name, data: [address], ptr: true }] });

    const undone = await dns.rollback(id ?? "");

    expect(undone.state).toBe("rolled-back");
    expect(await bind.dig(full, "A", secondary())).toEqual([]);
    expect(await bind.dig(reverse(address), "PTR")).toEqual([]);
  });

  test("brings values and time to live back", async () => {
    const { name, full } = host();
    await bind.nsupdate(
      "debvisor.local",
      `update add ${full}. 77 A 192.0.2.201`,
      `update add ${full}. 77 A 192.0.2.202`,
    );
    const { id } = await dns.change({ changes: [{ name, data: ["192.0.2.203"], ttl: 600 }] });

    await dns.rollback(id ?? "");

    const { items } = await dns.ask("listRecords", { name });
    expect(items).toEqual([
      { zone: "debvisor.local", name: full, type: "A", ttl: 77, data: ["192.0.2.201", "192.0.2.202"] },
    ]);
    const { items: all } = await dns.ask("listRecords", {});
    expect(all).toContainEqual(items[0]);
    expect(all.length).toBeGreaterThan(items.length);
  });

  test("sticks when somebody changed the record since, and says both values; asked before, it says so too", async () => {
    const { name, full, address } = host();
    const { id = "" } = await dns.change({ changes: [{ name, data: [address], ttl: 300 }] });
    await bind.nsupdate("debvisor.local", `update delete ${full}. A`, `update add ${full}. 60 A 192.0.2.250`);

    const asked = await dns.ask("checkChange", { change: id ?? "" });
    const undone = await dns.rollback(id ?? "");

    expect(asked.records).toMatchObject([
      { status: "changed-since", after: `300 ${address}`, found: "60 192.0.2.250" },
    ]);
    expect(undone.state).toBe("stuck");
    expect(JSON.stringify(undone.steps)).toContain(`expected 300 ${address}, found 60 192.0.2.250`);
    expect(await bind.dig(full, "A")).toEqual(["192.0.2.250"]);
  });
});

describe("with a server that is away", () => {
  const zone = ["lag.test"];
  let lag: TestBind;

  beforeAll(async () => {
    if (lacking.length > 0) return;
    lag = await startBind({ zones: zone, notify: false, keys: ["dv-lag"] });
    await dns.ask("setKey", { key: "dv-lag", secret: lag.keys["dv-lag"]?.secret ?? "" });
    const own = { address: "127.0.0.1", zone };
    await dns.ask("setServer", { server: "lag1", port: lag.primary.port, ...own, key: "dv-lag" });
    await dns.ask("setServer", { server: "lag2", port: lag.secondary?.port ?? 0, role: "secondary", ...own });
  });
  afterAll(() => lag?.[Symbol.asyncDispose]());

  const change = (name: string, address: string) =>
    dns.change({ changes: [{ name, data: [address] }], zone: "lag.test", propagation: "300ms" });
  const standing = ({ result }: { result: unknown }) =>
    ChangeResult.parse(result).zones.flatMap(({ servers }) =>
      servers.map(({ server, status, serial, detail }) => ({ server, status, serial, detail })),
    );

  test("a change is not propagated: a secondary that lags is named with its serial, and the change stays", async () => {
    const done = await change("web1", "192.0.2.1");

    expect(done).toMatchObject({ state: "succeeded", result: { propagated: false } });
    expect(standing(done)).toEqual([
      { server: "lag1", status: "same", serial: 2, detail: "" },
      { server: "lag2", status: "different", serial: 1, detail: "web1.lag.test A: none" },
    ]);
    expect(await dns.ask("checkPropagation", { name: "web1", zone: "lag.test" })).toMatchObject({ propagated: false });
  });

  test("a change that has to be everywhere is undone", async () => {
    const done = await dns.change({
      ...{ changes: [{ name: "web5", data: ["192.0.2.5"] }], zone: "lag.test", propagation: "300ms", everywhere: true },
    });

    expect(done).toMatchObject({ state: "rolled-back", error: { code: "DNS_NOT_PROPAGATED" } });
    expect(done.error?.message).toContain("lag2 (different, serial 1)");
    expect(await lag.dig("web5.lag.test", "A")).toEqual([]);
  });

  test("a secondary that does not answer is told apart from one that lags", async () => {
    await lag.secondary?.stop();

    const done = await change("web2", "192.0.2.2");

    expect(standing(done)[1]).toMatchObject({ server: "lag2", status: "unreachable", serial: null });
  });

  test("another primary takes the change in the place of the one that does not answer", async () => {
    const own = { address: "127.0.0.1", zone, key: "dv-lag" };
    await dns.ask("setServer", { server: "lag0", port: 1, ...own });

    const done = await change("web3", "192.0.2.3");
    await dns.ask("deleteServer", { server: "lag0" });

    expect(ChangeResult.parse(done.result).zones[0]?.server).toBe("lag1");
    expect(standing(done)[0]).toMatchObject({ server: "lag0", status: "unreachable" });
    expect(await lag.dig("web3.lag.test", "A")).toEqual(["192.0.2.3"]);
  });

  test("no change is planned while no primary answers", async () => {
    await lag.primary.stop();

    const refused = await change("web4", "192.0.2.4").catch((error: unknown) => error);

    expect(refused).toMatchObject({ code: "DNS_UNREACHABLE", exitCode: 4 });
  });
});

describe("a change that cannot be", () => {
  const bad: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
    ["a label of 64 characters", { name: "a".repeat(64), data: ["192.0.2.1"] }, /at most 63/],
    ["a name of 254 characters", { name: `${"abcdefg.".repeat(31)}abcdef`, data: ["192.0.2.1"] }, /at most 253/],
    ["a host with an underscore", { name: "web_1", data: ["192.0.2.1"] }, /underscore/],
    ["a name that is not ASCII", { name: "bücher", data: ["192.0.2.1"] }, /xn--/],
    ["an empty label", { name: "a..b", data: ["192.0.2.1"] }, /empty label/],
    ["a line break", { name: "web1\nsend", data: ["192.0.2.1"] }, /letters, digits/],
    ["no address", { name: "web1", data: ["192.0.2.256"] }, /no IPv4 or IPv6 address/],
    ["two families at once", { name: "web1", data: ["192.0.2.1", "2001:db8::1"] }, /two sets/],
    ["no value", { name: "web1", data: [] }, /value is missing/],
    ["a line break in a value", { name: "t", type: "TXT", data: ["a\nsend"] }, /line breaks/],
    ["a TTL below 30", { name: "web1", data: ["192.0.2.1"], ttl: 29 }, /30/],
    ["a TTL above 86400", { name: "web1", data: ["192.0.2.1"], ttl: 86_401 }, /86400/],
  ];

  test.each(bad)("because of %s is refused, and the zone is untouched", async (_what, change, why) => {
    const serial = await bind.dig("debvisor.local", "SOA");

    const refused = await dns.ask("changeRecords", { changes: [change] } as never).catch((error: unknown) => error);

    expect(refused).toMatchObject({ message: expect.stringMatching(why) });
    expect([2, 6]).toContain((refused as { exitCode: number }).exitCode);
    expect(await bind.dig("debvisor.local", "SOA")).toEqual(serial);
  });

  test.each([
    ["an alias beside an address", "ns1", { type: "CNAME", data: ["elsewhere.example.org"] }, /nothing beside it/],
    ["an address beside an alias", "alias", { data: ["192.0.2.9"] }, /is an alias of/],
  ] as const)("because of %s is refused", async (_what, name, change, why) => {
    await dns.change({ changes: [{ name: "alias", type: "CNAME", data: ["ns1"] }] });
    const serial = await bind.dig("debvisor.local", "SOA");

    const refused = dns.ask("changeRecords", { changes: [{ name, ...change, data: [...change.data] }] });

    await expect(refused).rejects.toMatchObject({ code: "DNS_RECORD_INVALID", message: expect.stringMatching(why) });
    expect(await bind.dig("debvisor.local", "SOA")).toEqual(serial);
  });

  test("because its zone has no server says what to configure", async () => {
    const refused = await dns
      .ask("changeRecords", { changes: [{ name: "web1", data: ["192.0.2.1"] }], zone: "nowhere.test" })
      .catch((error: unknown) => error);

    expect(refused).toMatchObject({
      code: "DNS_SERVER_MISSING",
      exitCode: 6,
      message: expect.stringContaining("dvctl dns servers add NAME --address IP --role primary --zone nowhere.test"),
    });
  });
});
