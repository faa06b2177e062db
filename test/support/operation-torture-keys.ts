// SPDX-License-Identifier: Apache-2.0
/**
 * The world of replaced keys: a real BIND on a member with the real node part, and what it takes. Each case begins with a key of its own.
 * What is looked at: the ring of keys, the file, and what the server answers to either key.
 */
import { randomBytes } from "node:crypto";
import type { Folded } from "@debvisor/shared/operation/fold";
import { newOperationId } from "@debvisor/shared/operation/submit";
import type { Bind } from "../../services/dns/drivers/bind.ts";
import { keyNameOf, keysFileOf } from "../../services/dns/model/key-ring.ts";
import { type DnsStore, findServer } from "../../services/dns/reconcilers/dns-store.ts";
import { type ManagedBind, startManagedBind } from "./bind-managed.ts";
import type { TortureBench } from "./operation-torture-bench.ts";
import { tortureBind, tortureStore } from "./operation-torture-dns.ts";
import type { TortureWorld } from "./operation-torture-worlds.ts";
import { waitFor } from "./wait-for.ts";

const ZONE = "keys.test";
const NAME = "ns-keys";
const BY = { actor: "tester", at: "2026-11-28T08:00:00.000Z" };

const LOOK_MS = 20_000;

interface Key {
  readonly name: string;
  readonly secret: string;
}

/** How it is, in words: `old` is the key that was there before, `new` any other. */
interface Seen {
  /** What the ring says. */
  readonly ring: string;
  readonly file: string;
  /** Whether the server takes the old key, and a new one that is in its file. */
  readonly takes: string;
}

/** Keys for changes of one primary; what secondaries have of it is in test/integration/dns. */
export function rotateKeysWorld(): TortureWorld {
  let managed: ManagedBind;
  let bind: Bind;
  let store: DnsStore;
  return {
    name: "rotate-keys",
    type: "dns.rotate-keys",
    undoable: false,
    seals: true,
    sparing: true,
    needs: ["named", "dig", "nsupdate", "rndc"],
    lane: "rotate-keys",
    shares: true,
    start: async (bench: TortureBench) => {
      managed = await startManagedBind(bench.cluster, ZONE);
      bench.atEnd(async () => await managed[Symbol.asyncDispose]());
      bind = tortureBind(bench.cluster);
      store = tortureStore(bench.busOf("dns"));
      const { port, node } = managed.primary;
      const server = { name: NAME, address: "127.0.0.1", port, role: "primary" as const, zones: [ZONE], key: null };
      await store.setServer({ ...server, node: node as never, addedAt: BY.at, addedBy: BY.actor });
    },
    fresh: async () => {
      const old = await begin(store, managed);
      let now: Seen | undefined;
      const look = async () => {
        // After the bus was killed its first answers may be late.
        await waitFor(
          async () => {
            now = await seen(store, bind, managed, old).catch(() => undefined);
            return now !== undefined;
          },
          LOOK_MS,
          () => "nobody says how the keys are",
        );
      };
      return {
        input: { purpose: ["node"], overlap: "0s" },
        snapshot: async () => {
          await look();
          return { keys: now };
        },
        settled: look,
        nodes: [],
        lastStep: "remove",
        ledger: () => [],
        wrong: (folded) => (now ? wrongSeen(now, folded) : []),
      };
    },
  };
}

/** One key, in force; nothing under way. */
async function begin(store: DnsStore, { primary }: ManagedBind): Promise<Key> {
  const key: Key = { name: keyNameOf("node", newOperationId()), secret: randomBytes(32).toString("base64") };
  const ring = { keys: { node: key.name }, rotation: null, undone: null };
  await store.changeRing(
    () => ({ kind: "write", ring }),
    () => ({ ...key, algorithm: "hmac-sha256" }),
    BY,
  );
  const view = await store.view();
  const secret = () => ({ ...key, algorithm: "hmac-sha256" as const });
  await primary.nameserver.set(keysFileOf(findServer(view, NAME), view.servers, view.ring, "old", secret));
  return key;
}

async function seen(store: DnsStore, bind: Bind, { primary }: ManagedBind, old: Key): Promise<Seen> {
  const word = (name: string | undefined) => (name === undefined ? "none" : name === old.name ? "old" : "new");
  const { ring } = await store.view();
  const inFile = [...primary.keys().matchAll(/^key "([^"]+)" \{[^}]*secret "([^"]+)"/gm)].map(
    ([, name = "", secret = ""]) => ({ name, secret }),
  );
  const asked = [old, ...inFile.filter(({ name }) => name !== old.name)];
  const taken: string[] = [];
  for (const key of asked) {
    const endpoint = { name: NAME, address: "127.0.0.1", port: primary.port };
    const fault = await bind.probe({ ...endpoint, key: { ...key, algorithm: "hmac-sha256" } }, ZONE);
    if (!fault) taken.push(word(key.name));
  }
  return {
    ring: `${word(ring.keys.node)} in force, ${ring.rotation?.phase ?? "settled"}`,
    file: inFile.map(({ name }) => word(name)).join("+"),
    takes: taken.join("+"),
  };
}

/** What contradicts the log: before the removal may have begun nothing remains, afterwards nothing goes back. */
function wrongSeen(now: Seen, folded: Folded | undefined): string[] {
  const remove = folded?.steps.get("remove");
  const begun = remove?.ran === true && remove.state !== "pending";
  const is = (word: string) => now.ring === `${word} in force, settled` && now.file === word && now.takes === word;
  const said = `${folded?.state ?? "never began"}, but ${JSON.stringify(now)}`;
  if (folded?.state === "succeeded") return is("new") ? [] : [said];
  if (!begun) return is("old") ? [] : [said];
  // It broke off: the new key is there and signs, whether or not the old one is gone.
  return now.file.includes("new") && now.takes.includes("new") && !now.ring.includes("deployed") ? [] : [said];
}
