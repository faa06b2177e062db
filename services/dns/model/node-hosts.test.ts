// SPDX-License-Identifier: Apache-2.0
import type { NodeEntry } from "@debvisor/proto-events/discovery";
import { expect, test } from "vitest";
import { dueTasks, waitsFor, wishOf } from "./node-hosts.ts";

const ZONE = "x.test";
const node = (id: string, name: string, ...addresses: string[]) => ({ id, name, addresses }) as unknown as NodeEntry;
const wish = (id: string, name: string, ...addresses: string[]) => wishOf(node(id, name, ...addresses), [ZONE], ZONE);
const host = (id: string | null, name: string, ...addresses: string[]) => ({
  ...{ host: `${name}.${ZONE}`, kind: "node" as const, id, addresses },
});

test("a node is wished for by its name in the cluster, with one address of each kind", () => {
  expect(wish("n1", "node-1", "127.0.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1")).toEqual({
    ...{ node: "n1", host: "node-1.x.test", zone: ZONE, addresses: ["192.0.2.1", "2001:db8::1"] },
  });
});

test("nothing is due when all is registered, whatever else is", () => {
  const others = [{ ...host("vm-1", "vm"), kind: "vm" as const }, host(null, "by-hand", "192.0.2.9")];

  expect(dueTasks([wish("n1", "node-1", "192.0.2.1")], [host("n1", "node-1", "192.0.2.1"), ...others], [ZONE])).toEqual(
    [],
  );
});

test("a new node, other addresses, and another name are due; removals come first", () => {
  const wishes = [wish("n1", "new", "192.0.2.1"), wish("n2", "moved", "192.0.2.2"), wish("n3", "named", "192.0.2.3")];
  const hosts = [host("n2", "moved", "192.0.2.7"), host("n3", "former", "192.0.2.3"), host("n4", "gone", "192.0.2.4")];

  expect(dueTasks(wishes, hosts, [ZONE]).map(({ verb, host: name }) => `${verb} ${name}`)).toEqual([
    "deregister former.x.test",
    "deregister gone.x.test",
    "register new.x.test",
    "register moved.x.test",
    "register named.x.test",
  ]);
});

test("nothing is due without a primary, nor for a node without an address; the list says why", () => {
  const [lone, nameless] = [wish("n1", "node-1", "192.0.2.1"), wish("n2", "node-2", "127.0.0.1")];

  expect(dueTasks([lone, nameless], [host("n3", "gone", "192.0.2.3")], [])).toEqual([]);
  expect(dueTasks([nameless], [], [ZONE])).toEqual([]);
  expect([waitsFor(lone, []).code, waitsFor(nameless, [ZONE]).code]).toEqual(["DNS_SERVER_MISSING", null]);
});
