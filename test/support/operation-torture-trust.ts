// SPDX-License-Identifier: Apache-2.0
/**
 * The world of a rotation: two servers whose node parts are the real ones, each with files of its own, on the real bus. Only the way to
 * the other server's keys is not the join port but its file. Each case has an authority of its own.
 */
import { mkdirSync, mkdtempSync } from "node:fs";
import path from "node:path";
import { Member, MembershipEntry, TrustEntry } from "@debvisor/proto-events/membership";
import { trustContract } from "@debvisor/proto-events/trust";
import { systemClock } from "@debvisor/shared/clock";
import { json, nodePaths, ServerSecrets, writePrivateFile } from "@debvisor/shared/node-files";
import type { Folded } from "@debvisor/shared/operation/fold";
import { type Authority, createAuthority } from "@debvisor/shared/pki/authority";
import { writeTls } from "../../services/discovery/joining/take-up.ts";
import { firstTrust, phaseOf, TRUST_KEY } from "../../services/discovery/model/trust.ts";
import { getHoldingHandler } from "../../services/discovery/operations/trust.ts";
import { MembershipStore } from "../../services/discovery/reconcilers/membership-store.ts";
import { SecretsFile } from "../../services/discovery/reconcilers/secrets-file.ts";
import { authorityOf, holdingIn, TrustFollower } from "../../services/discovery/reconcilers/trust-follower.ts";
import { randomNodeId } from "./bus-cluster.ts";
import { issue } from "./certificates.ts";
import type { TortureBench } from "./operation-torture-bench.ts";
import { makers } from "./operation-torture-services.ts";
import type { TortureWorld } from "./operation-torture-worlds.ts";

const AT = "2026-11-28T08:00:00.000Z";

/** Ids of the two servers. */
const SERVERS = [randomNodeId(), randomNodeId()];

/** Deletes the servers of this world, for one that counts servers. */
export async function forgetTrustServers(bench: TortureBench): Promise<void> {
  const bucket = await bench.busOf("discovery").bucket("dv_members", MembershipEntry);
  for (const id of SERVERS) {
    const entry = await bucket.get(id);
    if (entry) await bucket.delete(id, entry.revision);
  }
}

/** A server of the case that runs now. */
interface Server {
  readonly id: string;
  dir: string;
  follower: TrustFollower;
}

/** What a server holds, or what the membership wants, in words: `old` is the authority that was there before. */
interface Held {
  readonly wanted: string;
  readonly servers: readonly string[];
}

export function trustWorld(): TortureWorld {
  const servers: Server[] = SERVERS.map((id) => ({ id, dir: "", follower: undefined as never }));
  let store: MembershipStore;
  return {
    name: "rotate-authority",
    type: "trust.rotate-authority",
    undoable: false,
    seals: true,
    lane: "membership",
    shares: true,
    start: async (bench) => {
      store = new MembershipStore(bench.busOf("discovery"));
      await store.start();
      for (const server of servers) {
        const bus = await bench.cluster.connectNode(server.id);
        await bus.serve(trustContract, "node", { getHolding: getHoldingHandler(() => server.follower) });
      }
      makers.set(bench.cluster, () => servers[0]?.follower as TrustFollower);
    },
    fresh: async (bench) => {
      const old = await begin(bench, store, servers);
      let now: Held | undefined;
      const look = async () => {
        for (const { follower } of servers) await follower.takeUp();
        now = await heldNow(store, servers, old);
      };
      return {
        input: { reason: "torture" },
        snapshot: async () => {
          await look();
          return { trust: now };
        },
        settled: look,
        nodes: [],
        lastStep: "remove",
        ledger: () => [],
        wrong: (folded) => (now ? wrongHeld(now, folded) : []),
      };
    },
  };
}

/** Servers with an authority of their own and nothing under way. */
async function begin(bench: TortureBench, store: MembershipStore, servers: readonly Server[]): Promise<Authority> {
  const authority = await createAuthority("test");
  // Members of other worlds have no node that could answer.
  for (const id of store.members().keys()) if (!SERVERS.includes(id)) await store.forget(id, () => true);
  const generation = (await store.fresh(TRUST_KEY))?.kind === "trust" ? (store.trust()?.generation ?? 0) + 1 : 1;
  const entry = TrustEntry.parse({ ...firstTrust(authorityOf(authority.certificatePem)), generation });
  await store.change<TrustEntry>(TRUST_KEY, () => entry, { fresh: true });
  for (const server of servers) {
    server.dir = mkdtempSync(path.join(bench.cluster.dir, "trust-"));
    await equip(bench, server, authority);
    await store.change<Member>(server.id, () => memberOf(server.id), { fresh: true });
    server.follower = followerOf(bench, store, server, servers);
  }
  return authority;
}

async function equip(bench: TortureBench, { dir }: Server, authority: Authority): Promise<void> {
  mkdirSync(path.join(dir, "tls"), { recursive: true });
  const secrets = { version: 1, cluster: "test", trust: bench.cluster.seeds, authority };
  const file = ServerSecrets.parse({ ...secrets, routePassword: "r".repeat(32), secret: "c2VjcmV0" });
  writePrivateFile(nodePaths(dir).secrets, json(file));
  const { certificate, key } = await issue(authority);
  writeTls(dir, { authorities: authority.certificatePem, certificate, keyPem: key });
}

function followerOf(
  bench: TortureBench,
  store: MembershipStore,
  { id, dir }: Server,
  servers: readonly Server[],
): TrustFollower {
  const secrets = SecretsFile.open(dir);
  if (!secrets) throw new Error(`${dir} has no secrets`);
  const others = servers.filter((other) => other.id !== id).map((other) => () => SecretsFile.open(other.dir)?.current);
  return new TrustFollower({
    ...{ store, secrets, dir, node: id, clock: systemClock, log: bench.cluster.log },
    askOthers: (wanted) => {
      for (const theirs of others) {
        const given = theirs();
        if (given && wanted(given)) break;
      }
      return Promise.resolve();
    },
    isInForce: () => Promise.resolve(true),
  });
}

function memberOf(id: string): Member {
  return Member.parse({
    ...{
      kind: "member",
      id,
      name: `s-${id.slice(0, 6)}`,
      role: "server",
      state: "active",
      generation: 1,
      incarnation: 1,
    },
    ...{ key: "0".repeat(64), busKey: "U", addresses: [], endpoints: null, admittedBy: "secret", admittedAt: AT },
    ...{ certificate: null, removed: null },
  });
}

async function heldNow(store: MembershipStore, servers: readonly Server[], old: Authority): Promise<Held> {
  const { fingerprint } = authorityOf(old.certificatePem);
  const word = (one: string | null) => (one === fingerprint ? "old" : one === null ? "none" : "new");
  const entry = await store.fresh(TRUST_KEY);
  if (entry?.kind !== "trust") throw new Error("the entry is gone");
  const saysOf = (authorities: readonly string[], issuer: string | null) =>
    `believes ${authorities.map(word).join("+")}, ${word(issuer)} issues`;
  return {
    wanted: `${phaseOf(entry)}: ${saysOf(
      entry.authorities.map((one) => one.fingerprint),
      entry.issuer,
    )}`,
    servers: servers.map(({ dir }) => {
      const { authorities, issuer } = holdingIn(dir);
      const { authority, next } = SecretsFile.open(dir)?.current ?? {};
      const keys = [authority, next].flatMap((one) => (one ? [authorityOf(one.certificatePem).fingerprint] : []));
      return `${saysOf(authorities, issuer)}, keys ${keys.map(word).join("+")}`;
    }),
  };
}

/** What contradicts the log: before the removal may have begun nothing remains, afterwards nothing goes back. */
function wrongHeld(now: Held, folded: Folded | undefined): string[] {
  const remove = folded?.steps.get("remove");
  const begun = remove?.ran === true && remove.state !== "pending";
  const both = (who: string) => [
    `single: ${who}`,
    ...now.servers.map(() => `${who}, keys ${who.split(" ")[1]?.slice(0, 3)}`),
  ];
  const before = both("believes old, old issues");
  const after = both("believes new, new issues");
  const seen = [now.wanted, ...now.servers];
  const is = (wanted: readonly string[]) => wanted.join() === seen.join();
  const said = `${folded?.state ?? "never began"}, but ${seen.join("; ")}`;
  if (folded?.state === "succeeded") return is(after) ? [] : [said];
  if (!begun) return is(before) ? [] : [said];
  // It broke off: the membership may want both still, but nobody has a certificate of the old one.
  return seen.every((one) => one.includes("new issues")) ? [] : [said];
}
