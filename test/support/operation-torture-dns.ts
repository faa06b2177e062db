// SPDX-License-Identifier: Apache-2.0
/** The worlds of changes of records: a real BIND, a name of its own for each case, and what the primary answers for it. */
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import path from "node:path";
import type { Bus } from "@debvisor/shared/bus/bus";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { type Bind, createBind, type Endpoint } from "../../services/dns/drivers/bind.ts";
import { readSets } from "../../services/dns/operations/ask-servers.ts";
import { DnsStore } from "../../services/dns/reconcilers/dns-store.ts";
import { type HostEntry, HostStore } from "../../services/dns/reconcilers/host-store.ts";
import { startBind, type TestBind } from "./bind.ts";
import type { TortureBench } from "./operation-torture-bench.ts";
import type { TortureWorld } from "./operation-torture-worlds.ts";

const ZONE = "torture.test";
const SEAL = randomBytes(32).toString("base64");

let folder: string | undefined;
let cases = 0;

/** Servers and keys as the instances of the bench see them. */
export function tortureStore(bus: Bus): DnsStore {
  return new DnsStore(bus, SEAL);
}

/** The programs, with a private folder for each user of them. */
export function tortureBind(bench: { readonly dir: string }): Bind {
  folder ??= mkdtempSync(path.join(bench.dir, "dns-keys-"));
  return createBind({ folder: mkdtempSync(path.join(folder, "k-")), answerMs: 1_000 });
}

/** A change set that deletes one record, replaces another one and makes a third. */
export function changeRecordsWorld(): TortureWorld {
  return dnsWorld({
    name: "change-records",
    type: "dns.change-records",
    lastStep: "zone-1",
    setUp: async ({ named, name }) => {
      const [old, gone, fresh] = [name("old"), name("gone"), name("fresh")];
      await named.nsupdate(ZONE, `update add ${old}. 77 A 192.0.2.1`, `update add ${gone}. 88 TXT "here"`);
      return {
        sets: [
          { name: old, type: "A" },
          { name: gone, type: "TXT" },
          { name: fresh, type: "A" },
        ],
        input: changeSet([
          { name: old, data: ["192.0.2.2", "192.0.2.3"], ttl: 300 },
          { action: "delete", name: gone, type: "TXT" },
          { name: fresh, data: ["192.0.2.4"] },
        ]),
      };
    },
  });
}

/** The same with the time to live lowered before, waited for and restored: 2 s, 1 s, 300 s. */
export function lowerTtlWorld(): TortureWorld {
  return dnsWorld({
    name: "change-records, lowering",
    type: "dns.change-records",
    every: 17,
    lastStep: "restore-1",
    setUp: async ({ named, name }) => {
      const [old, gone] = [name("old"), name("gone")];
      await named.nsupdate(ZONE, `update add ${old}. 2 A 192.0.2.1`, `update add ${gone}. 2 TXT "here"`);
      return {
        sets: [
          { name: old, type: "A" },
          { name: gone, type: "TXT" },
        ],
        input: {
          ...changeSet([
            { name: old, data: ["192.0.2.2"], ttl: 300 },
            { action: "delete", name: gone, type: "TXT" },
          ]),
          ...{ lowerTtl: true, lowTtl: 1 },
        },
      };
    },
  });
}

/** Another address for a host, or its end; what is remembered of it is looked at as well. */
export function hostWorlds(): readonly TortureWorld[] {
  return (["register-host", "deregister-host"] as const).map((verb) =>
    dnsWorld({
      name: verb,
      type: `dns.${verb}`,
      every: 7,
      lastStep: "remember",
      setUp: async ({ named, name, hosts }) => {
        const host = name("host");
        await named.nsupdate(ZONE, `update add ${host}. 77 A 192.0.2.1`);
        const sets = [{ name: host, type: "A" }];
        const record = { zone: ZONE, name: host, type: "A" as const, data: ["192.0.2.1"] };
        const former = newOperationId() as HostEntry["operation"];
        const known = { entry: "host" as const, host, kind: "vm" as const, id: "vm-1", addresses: ["192.0.2.1"] };
        const by = { operation: former, at: new Date().toISOString(), by: "tester" };
        await hosts.write(host, { ...known, ...by, records: [record] }, 0);
        const wish = verb === "register-host" ? { addresses: ["192.0.2.2"], kind: "vm", takeOver: false } : {};
        return {
          sets,
          input: { host, id: "vm-1", propagation: "1s", ...wish },
          remembered: async () => {
            const found = await hosts.get(host);
            const made = found?.records.map(({ type, data }) => ({ type, data }));
            return found ? { addresses: found.addresses, made, isFormer: found.operation === former } : null;
          },
        };
      },
    }),
  );
}

function changeSet(changes: readonly Record<string, unknown>[]): Record<string, unknown> {
  return {
    changes: changes.map((change) => ({ action: "set", data: [], ptr: false, ...change })),
    ...{ propagation: "1s", everywhere: true, lowerTtl: false, lowTtl: 30 },
  };
}

/** What a case begins with, and what is asked for. */
interface Setting {
  readonly sets: readonly { readonly name: string; readonly type: string }[];
  readonly input: Record<string, unknown>;
  /** What is kept beside the records. */
  remembered?(): Promise<unknown>;
}

interface DnsWorld extends Pick<TortureWorld, "name" | "type" | "every"> {
  readonly lastStep: string;
  /** `name` makes names that no other case has. */
  setUp(place: { readonly named: TestBind; readonly hosts: HostStore; name(what: string): string }): Promise<Setting>;
}

function dnsWorld({ lastStep, setUp, ...world }: DnsWorld): TortureWorld {
  let named: TestBind;
  let bind: Bind;
  let endpoint: Endpoint;
  let hosts: HostStore;
  return {
    ...world,
    undoable: true,
    sparing: true,
    needs: ["named", "dig", "nsupdate"],
    lane: world.name,
    shares: false,
    start: async (bench: TortureBench) => {
      named = await sharedNamed(bench);
      bind = tortureBind(bench.cluster);
      const { key, primary } = named;
      const store = tortureStore(bench.busOf("dns"));
      hosts = new HostStore(bench.busOf("dns"));
      const secret = { name: key.name, algorithm: "hmac-sha256", secret: key.secret };
      const at = new Date().toISOString();
      await store.setKey(secret, { actor: "tester", at });
      const server = { name: "ns1", address: "127.0.0.1", port: primary.port, role: "primary" as const, node: null };
      await store.setServer({ ...server, zones: [ZONE], key: key.name, addedAt: at, addedBy: "tester" });
      endpoint = { ...server, key: null };
    },
    fresh: async () => {
      const number = cases++;
      const name = (what: string) => `${what}-${number}.${ZONE}`;
      const { sets, input, remembered } = await setUp({ named, hosts, name });
      return {
        input,
        snapshot: async () => ({
          [ZONE]: (await readSets(bind, endpoint, ZONE, sets)).sets,
          ...(remembered ? { remembered: await remembered() } : {}),
        }),
        nodes: [],
        lastStep,
        ledger: () => [],
      };
    },
  };
}

const servers = new WeakMap<TortureBench, Promise<TestBind>>();

/** One server for all worlds of a bench. */
function sharedNamed(bench: TortureBench): Promise<TestBind> {
  const started = servers.get(bench) ?? startBind({ zones: [ZONE], secondary: false });
  if (!servers.has(bench)) bench.atEnd(async () => await (await started)[Symbol.asyncDispose]());
  servers.set(bench, started);
  return started;
}
