// SPDX-License-Identifier: Apache-2.0
/** The pure parts of mDNS: tag, interfaces, records, table of candidates. The network is in test/integration/discovery. */
import { createHmac } from "node:crypto";
import type { NetworkInterfaceInfo } from "node:os";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DvError } from "../errors.ts";
import { type CandidateChange, Candidates } from "./mdns-candidates.ts";
import { addressesFor, isOnLink, isPublishable, type MdnsInterface, resolveInterfaces } from "./mdns-interfaces.ts";
import { buildRecords, checkAnnouncement, MdnsTxt, readPacket, SERVICE_DOMAIN } from "./mdns-records.ts";
import { makeTag, verifyTag } from "./mdns-tag.ts";

const KEY = new Uint8Array(32).fill(9);
const SALT = "0123456789abcdef";
const NID = "abcdefghij234567";

function text(nid: string, more: Partial<MdnsTxt> = {}): MdnsTxt {
  return {
    v: "1",
    salt: SALT,
    tag: makeTag(KEY, SALT),
    nid,
    st: "ready",
    role: "server",
    ver: "0.1.0",
    host: "n1",
    ...more,
  };
}

function packetOf(nid: string, more: Partial<MdnsTxt> = {}, addresses: readonly string[] = ["10.0.0.1"]) {
  return { answers: buildRecords({ instance: nid, port: 7443, txt: text(nid, more) }, addresses), additionals: [] };
}

/** The n-th of many well-formed node ids. */
function idOf(n: number): string {
  return n
    .toString(26)
    .replace(/[0-9]/g, (digit) => "qrstuvwxyz"[Number(digit)] ?? "q")
    .padStart(16, "a");
}

function ipv4(address: string, internal = false): NetworkInterfaceInfo {
  return { address, netmask: internal ? "255.0.0.0" : "255.255.255.0", family: "IPv4", mac: "", internal, cidr: null };
}

function ipv6(address: string): NetworkInterfaceInfo {
  return { address, netmask: "", family: "IPv6", mac: "", internal: false, cidr: null, scopeid: 0 };
}

const HOST = {
  lo: [ipv4("127.0.0.1", true)],
  eth0: [ipv4("10.0.0.1"), ipv4("10.0.0.2"), ipv6("fd00::1"), ipv6("fe80::1")],
  eth1: [ipv4("192.168.7.1")],
};

test("a tag verifies with its key and salt and with no other", () => {
  const tag = makeTag(KEY, SALT);

  expect(tag).toMatch(/^[0-9a-f]{16}$/);
  expect(verifyTag(KEY, SALT, tag)).toBe(true);
  expect(verifyTag(new Uint8Array(32), SALT, tag)).toBe(false);
  expect(verifyTag(KEY, "fedcba9876543210", tag)).toBe(false);
  for (const junk of ["", "zz", `${tag}00`, tag.toUpperCase()]) expect(verifyTag(KEY, SALT, junk)).toBe(false);
});

test("a tag is the start of the standard HMAC, for keys of any length", () => {
  const salts = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString("hex"));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), salts, (key, salt) => {
      const standard = createHmac("sha256", key).update(Buffer.from(salt, "hex")).digest("hex");
      expect(makeTag(key, salt)).toBe(standard.slice(0, 16));
    }),
  );
});

test("no interfaces named means one address of each interface that is not internal", () => {
  expect(resolveInterfaces([], HOST).found.map(({ address }) => address)).toEqual(["10.0.0.1", "192.168.7.1"]);
});

test("interfaces are found by name and by address, and the missing ones are named", () => {
  const { found, missing } = resolveInterfaces(["eth1", "10.0.0.2", "127.0.0.9", "wlan0", "10.9.9.9"], HOST);

  expect(found.map(({ address }) => address)).toEqual(["192.168.7.1", "10.0.0.2", "127.0.0.9"]);
  expect(missing).toEqual(["wlan0", "10.9.9.9"]);
});

test("publishes the interface's own address first, the others after it, and no link-local one", () => {
  const [first] = resolveInterfaces(["10.0.0.2"], HOST).found;

  expect(addressesFor(first as MdnsInterface, HOST)).toEqual(["10.0.0.2", "10.0.0.1", "fd00::1", "192.168.7.1"]);
});

test("publishes on the loopback nothing but the loopback's address", () => {
  const [loopback] = resolveInterfaces(["127.0.0.1"], HOST).found;

  expect(addressesFor(loopback as MdnsInterface, HOST)).toEqual(["127.0.0.1"]);
});

test("takes packets from the interface's own network only", () => {
  const [eth1, loopback] = resolveInterfaces(["eth1", "127.0.0.1"], HOST).found as [MdnsInterface, MdnsInterface];

  expect(isOnLink(eth1, "192.168.7.200")).toBe(true);
  expect(isOnLink(eth1, "192.168.8.1")).toBe(false);
  expect(isOnLink(loopback, "127.3.4.5")).toBe(true);
  expect(isOnLink(loopback, "10.0.0.1")).toBe(false);
});

test.each(["fe80::1", "FEB0::1", "ff02::fb", "::", "0.0.0.0", "224.0.0.251", "fe80::1%eth0", "x", ""])(
  "%j does not stand in a record",
  (address) => expect(isPublishable(address)).toBe(false),
);

test.each([
  ["too long", { host: "h".repeat(64) }],
  ["empty", { host: "" }],
  ["odd", { st: "dancing" as "ready" }],
])("refuses a TXT value that is %s", (_title, more) => {
  expect(() => checkAnnouncement({ instance: NID, port: 7443, txt: text(NID, more) })).toThrow(DvError);
});

test("refuses TXT of 400 bytes and more, which mDNS would lose without an error", () => {
  const txt = { ...text(NID), extra: "x".repeat(300) } as MdnsTxt;

  expect(() => checkAnnouncement({ instance: NID, port: 7443, txt })).toThrow(/400|399/);
});

test("the largest TXT that the schema allows stays below the limit", () => {
  const txt = text(NID, { role: "a".repeat(32), ver: "v".repeat(63), host: "h".repeat(63), st: "leaving" });

  expect(() => checkAnnouncement({ instance: NID, port: 7443, txt })).not.toThrow();
});

test("reads back what it writes", () => {
  const { instances, addresses } = readPacket(packetOf(NID, {}, ["10.0.0.1", "fd00::1"]));

  expect(instances).toEqual([{ instance: NID, gone: false, txt: text(NID), port: 7443, target: `${NID}.local` }]);
  expect(addresses.flatMap(({ list }) => list)).toEqual(["10.0.0.1", "fd00::1"]);
});

test("never throws on a packet of any shape", () => {
  const record = fc.record({
    name: fc.oneof(fc.constant(SERVICE_DOMAIN), fc.constant(`${NID}.${SERVICE_DOMAIN}`), fc.anything()),
    type: fc.constantFrom("PTR", "SRV", "TXT", "A", "AAAA", 7),
    ttl: fc.oneof(fc.nat(), fc.anything()),
    data: fc.oneof(fc.anything(), fc.array(fc.uint8Array()), fc.constant({ port: 1, target: "x" })),
  });
  fc.assert(
    fc.property(
      fc.oneof(fc.anything(), fc.record({ answers: fc.array(record), additionals: fc.array(record) })),
      (packet) => {
        for (const { instance, txt } of readPacket(packet).instances) {
          expect(instance).toMatch(/^[a-z2-7]{16}$/);
          if (txt) expect(MdnsTxt.safeParse(txt).success).toBe(true);
        }
      },
    ),
  );
});

function table(bounds: { perTag?: number; perSender?: number; total?: number } = {}) {
  let time = 0;
  const candidates = new Candidates({
    now: () => time,
    monotonic: () => time,
    verify: ({ salt, tag }) => verifyTag(KEY, salt, tag),
    ...bounds,
  });
  return { candidates, pass: (ms: number) => (time += ms) };
}

const kinds = (changes: readonly CandidateChange[]) =>
  changes.map((change) => (change.kind === "gone" ? change.cause : change.kind));

test("reports an instance once, again when TXT or addresses change, and at its goodbye", () => {
  const { candidates } = table();
  const goodbye = { answers: [{ name: SERVICE_DOMAIN, type: "PTR", ttl: 0, data: `${NID}.${SERVICE_DOMAIN}` }] };

  expect(kinds(candidates.receive(packetOf(NID), "10.0.0.1", "e"))).toEqual(["up"]);
  expect(kinds(candidates.receive(packetOf(NID), "10.0.0.1", "e"))).toEqual([]);
  expect(kinds(candidates.receive(packetOf(NID, { st: "leaving" }), "10.0.0.1", "e"))).toEqual(["updated"]);
  expect(kinds(candidates.receive(packetOf(NID, { st: "leaving" }, ["10.0.0.5"]), "10.0.0.1", "e"))).toEqual([
    "updated",
  ]);
  expect(candidates.list()[0]?.addresses).toEqual(["10.0.0.5"]);
  expect(kinds(candidates.receive(goodbye, "10.0.0.1", "e"))).toEqual(["goodbye"]);
  expect(candidates.size).toBe(0);
});

test("drops what stays silent, and keeps what answers", () => {
  const { candidates, pass } = table();
  candidates.receive(packetOf(idOf(1)), "10.0.0.1", "e");
  candidates.receive(packetOf(idOf(2)), "10.0.0.1", "e");
  pass(60);
  candidates.receive(packetOf(idOf(2)), "10.0.0.1", "e");
  pass(60);

  expect(kinds(candidates.expire(100))).toEqual(["expired"]);
  expect(candidates.list().map(({ instance }) => instance)).toEqual([idOf(2)]);
});

test("takes the sender's address when a record names none", () => {
  const { candidates } = table();
  candidates.receive(packetOf(NID, {}, []), "10.0.0.77", "e");

  expect(candidates.list()[0]?.addresses).toEqual(["10.0.0.77"]);
});

test("holds 64 entries of one tag at most, the least recently seen going first", () => {
  const { candidates } = table();
  for (let n = 0; n < 100; n++) candidates.receive(packetOf(idOf(n)), "10.0.0.1", "e");

  expect(candidates.size).toBe(64);
  expect(candidates.list().some(({ instance }) => instance === idOf(99))).toBe(true);
  expect(candidates.list().some(({ instance }) => instance === idOf(0))).toBe(false);
});

test("ten thousand strangers do not push out one member", () => {
  const { candidates } = table();
  candidates.receive(packetOf(NID), "10.0.0.1", "e");

  for (let n = 0; n < 10_000; n++) {
    candidates.receive(packetOf(idOf(n), { tag: n.toString(16).padStart(16, "0") }), `10.0.${n % 200}.1`, "e");
  }

  expect(candidates.size).toBe(256);
  expect(candidates.list().find(({ instance }) => instance === NID)?.verified).toBe(true);
});

test("one sender of strangers holds 128 entries at most", () => {
  const { candidates } = table();
  for (let n = 0; n < 300; n++)
    candidates.receive(packetOf(idOf(n), { tag: n.toString(16).padStart(16, "0") }), "10.0.0.9", "e");

  expect(candidates.size).toBe(128);
});
