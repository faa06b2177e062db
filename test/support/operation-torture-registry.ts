// SPDX-License-Identifier: Apache-2.0
/** The worlds of operations on registry and membership: nodes that are only entries, and what is really there and on the bus. */
import { randomBytes } from "node:crypto";
import { Member, MembershipEntry } from "@debvisor/proto-events/membership";
import { newUserKey } from "@debvisor/shared/bus/user-keys";
import type { Folded } from "@debvisor/shared/operation/fold";
import { CLUSTER_KEY } from "../../services/discovery/model/membership.ts";
import { NodeRecord } from "../../services/discovery/model/registry.ts";
import type { TortureBench } from "./operation-torture-bench.ts";
import { controlOf } from "./operation-torture-services.ts";
import { forgetTrustServers, trustWorld } from "./operation-torture-trust.ts";
import type { TortureWorld } from "./operation-torture-worlds.ts";
import { waitFor } from "./wait-for.ts";

/** The server that founded, in the worlds of the membership. */
const FOUNDER = "f".repeat(16);

/** One world for each operation. */
export function registryWorlds(): readonly TortureWorld[] {
  return [markWorld("disable"), markWorld("enable"), growWorld(), removalWorld(), trustWorld()];
}

/** The declared size of the cluster; there is one entry, so its runs follow each other. */
function growWorld(): TortureWorld {
  return {
    name: "grow-cluster",
    type: "cluster.grow-cluster",
    undoable: true,
    lane: "membership",
    shares: true,
    start: () => Promise.resolve(),
    fresh: async (bench) => {
      await declareOne(bench);
      return {
        input: { servers: 3 },
        snapshot: async () => ({ cluster: await declaredServers(bench) }),
        nodes: [],
        lastStep: "declare",
        ledger: () => [],
      };
    },
  };
}

/** A cluster that is declared to have one server, which has joined. Each has a formation of its own. */
async function declareOne(bench: TortureBench): Promise<void> {
  const bucket = await bench.busOf("discovery").bucket("dv_members", MembershipEntry);
  const at = new Date().toISOString();
  const before = await bucket.get(CLUSTER_KEY);
  await forgetTrustServers(bench);
  const cluster: MembershipEntry = {
    ...{ kind: "cluster", cluster: "torture", formation: randomBytes(16).toString("hex"), servers: 1 },
    ...{ foundedAt: at, foundedBy: FOUNDER, unattendedUntil: null, joining: null },
  };
  if (!(await bucket.get(FOUNDER)))
    await bucket.create(FOUNDER, {
      ...{ kind: "member", id: FOUNDER, name: "founder", role: "server", state: "active", generation: 1 },
      ...{ incarnation: 1, key: "0".repeat(64), busKey: "U", addresses: [], endpoints: null },
      ...{ admittedBy: "founding", admittedAt: at, certificate: null, removed: null },
    });
  if (before) await bucket.update(CLUSTER_KEY, cluster, before.revision);
  else await bucket.create(CLUSTER_KEY, cluster);
}

async function declaredServers(bench: TortureBench): Promise<unknown> {
  const bucket = await bench.busOf("discovery").bucket("dv_members", MembershipEntry);
  const entry = (await bucket.get(CLUSTER_KEY))?.value;
  return entry?.kind === "cluster" ? entry.servers : null;
}

function markWorld(verb: "disable" | "enable"): TortureWorld {
  return {
    name: `${verb}-node`,
    type: `discovery.${verb}-node`,
    undoable: true,
    lane: `${verb}-node`,
    shares: false,
    start: () => Promise.resolve(),
    fresh: async (bench) => {
      const { id, name } = bench.newName();
      await enter(bench, id, name, verb === "enable");
      return {
        input: verb === "disable" ? { node: name, reason: "torture" } : { node: name },
        snapshot: async () => ({ [id]: await markOf(bench, id) }),
        nodes: [],
        lastStep: "mark",
        ledger: () => [],
      };
    },
  };
}

/** Enters a node; a disabled one with somebody else's mark. */
async function enter(bench: TortureBench, id: string, name: string, disabled: boolean): Promise<void> {
  const bucket = await bench.busOf("discovery").bucket("dv_nodes", NodeRecord);
  const at = new Date().toISOString();
  const record = NodeRecord.parse({
    id,
    name,
    state: disabled ? "disabled" : "lost",
    roles: ["worker"],
    version: "0.1.0",
    addresses: [],
    lastSeen: null,
    registeredAt: at,
    bootId: "",
    disabled: disabled ? { reason: "as before", actor: "somebody", at } : null,
  });
  await bucket.create(id, record);
}

async function markOf(bench: TortureBench, id: string): Promise<unknown> {
  const bucket = await bench.busOf("discovery").bucket("dv_nodes", NodeRecord);
  const record = (await bucket.get(id))?.value;
  return record && { state: record.state, reason: record.disabled?.reason ?? null, by: record.disabled?.actor ?? null };
}

/** How a removal left things. */
interface Remains {
  readonly member: string;
  readonly refused: boolean;
  readonly registered: boolean;
  readonly open: boolean;
}

const BEFORE: Remains = { member: "active", refused: false, registered: true, open: true };
const AFTER: Remains = { member: "removed", refused: true, registered: false, open: false };

function removalWorld(): TortureWorld {
  return {
    name: "remove-node",
    type: "discovery.remove-node",
    undoable: false,
    seals: true,
    lane: "membership",
    shares: true,
    start: () => Promise.resolve(),
    fresh: async (bench) => {
      const { id, name } = bench.newName();
      const { publicKey } = newUserKey();
      await enter(bench, id, name, false);
      await putMember(bench, id, name, publicKey);
      await openJoining(bench);
      let now = BEFORE;
      const look = async () => {
        now = await remainsOf(bench, id, publicKey);
      };
      return {
        input: { node: name, reason: "torture" },
        snapshot: async () => {
          await look();
          return { [id]: now };
        },
        settled: look,
        nodes: [],
        lastStep: "entry",
        ledger: () => [],
        wrong: (folded) => wrongRemains(now, folded),
      };
    },
  };
}

/** What contradicts the log: before the revocation may have begun nothing remains of it, afterwards nothing goes back. */
function wrongRemains(now: Remains, folded: Folded | undefined): string[] {
  const stateOf = (step: string) => folded?.steps.get(step)?.state;
  const begun = folded?.steps.get("cut")?.ran === true && stateOf("cut") !== "pending";
  const done = folded?.state === "succeeded";
  const wanted: Partial<Remains> = done
    ? AFTER
    : begun
      ? {
          member: "removed",
          open: false,
          ...(stateOf("cut") === "done" ? { refused: true } : {}),
          ...(stateOf("entry") === "done" ? { registered: false } : {}),
        }
      : BEFORE;
  return Object.entries(wanted).flatMap(([key, value]) =>
    now[key as keyof Remains] === value
      ? []
      : [`${folded?.state ?? "never began"}, but ${key} is ${now[key as keyof Remains]}`],
  );
}

async function putMember(bench: TortureBench, id: string, name: string, busKey: string): Promise<void> {
  const bucket = await bench.busOf("discovery").bucket("dv_members", MembershipEntry);
  const at = new Date().toISOString();
  const member = Member.parse({
    kind: "member",
    id,
    name,
    role: "worker",
    state: "active",
    generation: 2,
    incarnation: 1,
    key: "0".repeat(64),
    busKey,
    addresses: [],
    endpoints: null,
    admittedBy: "secret",
    admittedAt: at,
    certificate: null,
    removed: null,
  });
  await bucket.create(id, member);
}

async function openJoining(bench: TortureBench): Promise<void> {
  const bucket = await bench.busOf("discovery").bucket("dv_members", MembershipEntry);
  const entry = MembershipEntry.parse({
    kind: "cluster",
    cluster: "test",
    formation: "0".repeat(32),
    servers: 3,
    foundedAt: new Date().toISOString(),
    foundedBy: "a".repeat(16),
    unattendedUntil: new Date(Date.now() + 3_600_000).toISOString(),
    joining: null,
  });
  const known = await bucket.get(CLUSTER_KEY);
  if (known) await bucket.update(CLUSTER_KEY, entry, known.revision);
  else await bucket.create(CLUSTER_KEY, entry);
}

async function remainsOf(bench: TortureBench, id: string, busKey: string): Promise<Remains> {
  const bus = bench.busOf("discovery");
  const members = await bus.bucket("dv_members", MembershipEntry);
  const nodes = await bus.bucket("dv_nodes", NodeRecord);
  const [member, cluster, record] = await Promise.all([members.get(id), members.get(CLUSTER_KEY), nodes.get(id)]);
  return {
    member: member?.value.kind === "member" ? member.value.state : "none",
    refused: await isRefused(bench, busKey),
    registered: record !== undefined && !record.value.deleted,
    open: cluster?.value.kind === "cluster" && cluster.value.unattendedUntil !== null,
  };
}

/** A server that is just starting does not answer. */
async function isRefused(bench: TortureBench, busKey: string): Promise<boolean> {
  let refused: boolean | undefined;
  await waitFor(
    async () => {
      refused = await controlOf(bench.cluster).refuses(busKey);
      return refused !== undefined;
    },
    30_000,
    () => "no server says whom it refuses",
  );
  return refused === true;
}
