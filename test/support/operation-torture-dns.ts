// SPDX-License-Identifier: Apache-2.0
/** The world of changes of records: a real BIND, a name of its own for each case, and what the primary answers for it. */
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import path from "node:path";
import type { Bus } from "@debvisor/shared/bus/bus";
import { type Bind, createBind, type Endpoint } from "../../services/dns/drivers/bind.ts";
import { readSets } from "../../services/dns/operations/ask-servers.ts";
import { DnsStore } from "../../services/dns/reconcilers/dns-store.ts";
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
  let named: TestBind;
  let bind: Bind;
  let endpoint: Endpoint;
  return {
    name: "change-records",
    type: "dns.change-records",
    undoable: true,
    sparing: true,
    needs: ["named", "dig", "nsupdate"],
    lane: "change-records",
    shares: false,
    start: async (bench: TortureBench) => {
      named = await startBind({ zones: [ZONE], secondary: false });
      bench.atEnd(async () => await named[Symbol.asyncDispose]());
      bind = tortureBind(bench.cluster);
      const { key, primary } = named;
      const store = tortureStore(bench.busOf("dns"));
      const secret = { name: key.name, algorithm: "hmac-sha256", secret: key.secret };
      const at = new Date().toISOString();
      await store.setKey(secret, { actor: "tester", at });
      const server = { name: "ns1", address: "127.0.0.1", port: primary.port, role: "primary" as const, node: null };
      await store.setServer({ ...server, zones: [ZONE], key: key.name, addedAt: at, addedBy: "tester" });
      endpoint = { ...server, key: null };
    },
    fresh: async () => {
      const name = (what: string) => `${what}-${cases}.${ZONE}`;
      cases += 1;
      const [old, gone, fresh] = [name("old"), name("gone"), name("fresh")];
      await named.nsupdate(ZONE, `update add ${old}. 77 A 192.0.2.1`, `update add ${gone}. 88 TXT "here"`);
      const sets = [
        { name: old, type: "A" },
        { name: gone, type: "TXT" },
        { name: fresh, type: "A" },
      ];
      return {
        input: {
          changes: [
            { name: old, data: ["192.0.2.2", "192.0.2.3"], ttl: 300 },
            { action: "delete", name: gone, type: "TXT" },
            { name: fresh, data: ["192.0.2.4"] },
          ].map((change) => ({ action: "set", data: [], ptr: false, ...change })),
          propagation: "1s",
          everywhere: true,
        },
        snapshot: async () => ({ [ZONE]: (await readSets(bind, endpoint, ZONE, sets)).sets }),
        nodes: [],
        lastStep: "zone-1",
        ledger: () => [],
      };
    },
  };
}
