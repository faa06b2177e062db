// SPDX-License-Identifier: Apache-2.0
/** What a rescue writes once the survivor takes writes again: the audit trail, the membership, its own files, and what was done. */
import { createHash, randomUUID } from "node:crypto";
import type { RecordBody } from "@debvisor/proto-events/audit";
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { json, type NodeFile, nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { membershipOf } from "../membership-of.ts";
import { CLUSTER_KEY, serversOf } from "../model/membership.ts";
import { declaredOff, type RescueFacts, rescued } from "../model/rescue.ts";
import { MembershipStore } from "../reconcilers/membership-store.ts";
import { RegistryStore } from "../reconcilers/registry-store.ts";
import type { RescueJournal } from "./rescue-journal.ts";
import type { Survivor } from "./rescue-plan.ts";
import { issueOwn } from "./take-up.ts";

/** Boot id of this process, as the audit trail has it. */
const BOOT_ID = randomUUID();
/** Nothing is judged by them here: the registry wants them. */
const SILENCE = { suspectAfterMs: 6_000, lostAfterMs: 15_000 };

/** Writes into the audit trail what is about to be done, as the first write after the majority was lost. @throws AUDIT_UNAVAILABLE */
export async function recordIntent(bus: ConnectedBus, journal: RescueJournal, log: Logger): Promise<void> {
  await record(bus, log, bodyOf(journal, "intent"));
}

/** Enters that the others are removed and that the cluster has one server. @throws BUS_UNAVAILABLE, CONFLICT */
export async function enterMembers(bus: ConnectedBus, journal: RescueJournal): Promise<void> {
  const facts = factsOf(journal);
  await withMembers(bus, async (store) => {
    // One that was joining when the others died may not be known to the file that the rescue began with.
    for (const { id } of serversOf(await store.readMembers()))
      if (id !== journal.node) await store.change<Member>(id, (entry) => declaredOff(entry, facts), { fresh: true });
    await store.change<ClusterEntry>(CLUSTER_KEY, (entry) => entry && rescued(entry, facts), { fresh: true });
  });
}

/**
 * Writes this server's own files as the membership now is, with another password between servers and credentials of its own core
 * parts that are newer than the rescue. The membership comes last. @throws BUS_UNAVAILABLE, DATA_FOLDER_CORRUPT
 */
export async function writeFiles(bus: ConnectedBus, survivor: Survivor, journal: RescueJournal): Promise<void> {
  const { dir, node, membership } = survivor;
  const secrets = { ...survivor.secrets, routePassword: journal.routePassword };
  const paths = nodePaths(dir);
  await withMembers(bus, async (store) => {
    const members = await store.readMembers();
    const own = members.get(node.id);
    const cluster = await store.fresh(CLUSTER_KEY);
    if (!own || cluster?.kind !== "cluster")
      throw new DvError("DATA_FOLDER_CORRUPT", "The membership has no entry of this server, or none of the cluster.");
    const local = { monitor: membership.server.monitorPort, helper: membership.server.helperPorts };
    const now = await membershipOf(own, members, cluster, secrets, local);
    writePrivateFile(paths.secrets, json(secrets));
    await issueOwn(dir, node.id, secrets);
    writePrivateFile(paths.servers, json({ version: 1, servers: serversOf(members) }));
    writePrivateFile(paths.membership, json(now));
  });
}

/** Lets everybody know: registry, events, and the outcome in the audit trail. @throws BUS_UNAVAILABLE, AUDIT_UNAVAILABLE */
export async function recordEnd(bus: ConnectedBus, node: NodeFile, journal: RescueJournal, log: Logger): Promise<void> {
  const { id, actor, reason, off, formation } = journal;
  const registry = new RegistryStore({ bus, clock: systemClock, log, config: SILENCE });
  await registry.start();
  await withMembers(bus, async (store) => {
    for (const server of off) {
      if (await registry.read(server.id)) await registry.forget(server.id, reason, { actor });
      const member = await store.fresh(server.id);
      if (member?.kind !== "member") continue;
      const { name, role, key } = member;
      await bus.publishEvent(
        clusterContract,
        "member.removed",
        { node: server.id, name, role, key, reason, actor },
        { subject: server.id, id: idOf(`member.removed ${id} ${server.id}`), actor },
      );
    }
  });
  await registry.stop();
  await bus.publishEvent(
    clusterContract,
    "survivor.rescued",
    {
      ...{ rescue: id, survivor: node.id, reason, actor },
      off: off.map((server) => ({ node: server.id, name: server.name })),
      formation: formation.after,
      before: formation.before,
    },
    { subject: node.id, id: idOf(`survivor.rescued ${id}`), actor },
  );
  await record(bus, log, bodyOf(journal, "outcome"));
}

async function withMembers(bus: ConnectedBus, work: (store: MembershipStore) => Promise<void>): Promise<void> {
  const store = new MembershipStore(bus);
  await store.start();
  try {
    await work(store);
  } finally {
    await store.stop();
  }
}

async function record(bus: ConnectedBus, log: Logger, body: RecordBody): Promise<void> {
  const emitter = openEmitter({ bus, boot: BOOT_ID, clock: systemClock, log });
  try {
    await emitter.record(body);
  } finally {
    await emitter.stop();
  }
}

function bodyOf({ id, actor, reason, off, node, formation }: RescueJournal, kind: "intent" | "outcome"): RecordBody {
  return {
    kind,
    ref: `rescue-${id}`,
    actor,
    user: null,
    source: null,
    action: "cluster.rescue",
    mode: null,
    targets: [node, ...off.map((server) => server.id)],
    args: { off: off.map(({ name }) => name), formation: formation.after },
    reason,
    ...{ override: null, planDigest: null, operation: null, requestId: null, traceId: null },
    result: kind === "intent" ? null : { status: "ok", code: null, exitCode: 0, message: null },
  };
}

function factsOf({ actor, reason, at, formation }: RescueJournal): RescueFacts {
  return { actor, reason, at, formation: formation.after };
}

/** The same for every attempt, so that an event is stored once; as random as the rescue's id. */
function idOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
