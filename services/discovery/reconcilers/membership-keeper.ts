// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the membership and a server's files true to each other: enters the cluster when it was founded here, marks who has come up,
 * gives away the place of who never did, writes routes and revocations into the membership file, and renews this server's certificate.
 */
import { existsSync, readFileSync } from "node:fs";
import { clusterContract } from "@debvisor/proto-events/cluster";
import { type ClusterEntry, Member } from "@debvisor/proto-events/membership";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { hasFormed } from "@debvisor/shared/nats-server/member";
import {
  json,
  nodePaths,
  readJsonFileIfPresent,
  readMembership,
  type ServerSecrets,
  writePrivateFile,
} from "@debvisor/shared/node-files";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { z } from "zod";
import { renewOwn } from "../joining/take-up.ts";
import { membershipOf, revokedUsers } from "../membership-of.ts";
import { isDue } from "../model/certificates.ts";
import { CLUSTER_KEY, joined, overdue, serversOf } from "../model/membership.ts";
import type { MembershipStore } from "./membership-store.ts";

const LOOK_MS = 500;
/** While this server joins, others wait for their turn. */
const JOINING_LOOK_MS = 50;

/** What the founder kept for the first start of its services. */
const FoundingFile = z.strictObject({
  version: z.literal(1),
  servers: z.union([z.literal(1), z.literal(3), z.literal(5)]),
  member: Member,
});

export interface KeeperDeps {
  readonly store: MembershipStore;
  readonly bus: Bus;
  readonly secrets: ServerSecrets;
  /** Folder with the node's files. */
  readonly dir: string;
  readonly node: string;
  /** Whether heartbeats of a node have been heard. */
  readonly isAlive: (id: string) => boolean;
  /** How long the cluster secret lets machines in after the founding, in milliseconds. */
  readonly unattendedMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Enters cluster and founder if this machine founded and has not done so yet. @throws BUS_UNAVAILABLE */
export async function enterFounding({ store, dir, unattendedMs, clock }: KeeperDeps): Promise<void> {
  const founding = readJsonFileIfPresent(nodePaths(dir).founding, FoundingFile);
  const membership = readMembership(dir);
  if (!founding || !membership || (await store.fresh(CLUSTER_KEY))) return;
  const { servers, member } = founding;
  await store.change<Member>(member.id, (entry) => entry ?? member);
  await store.change<ClusterEntry>(CLUSTER_KEY, (entry) => {
    if (entry) return undefined;
    return {
      kind: "cluster",
      cluster: membership.cluster,
      formation: membership.formation,
      servers,
      foundedAt: timestamp(clock),
      foundedBy: member.id,
      unattendedUntil: unattendedMs > 0 ? new Date(clock.now() + unattendedMs).toISOString() : null,
      joining: null,
    };
  });
}

/** Starts looking, at once after every change of the membership and twice a second. */
export function startKeeper(deps: KeeperDeps): Closable {
  const stopping = new AbortController();
  const keeper = new Keeper(deps);
  let said: string | undefined;
  const run = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await keeper.round();
        said = undefined;
      } catch (error) {
        const cause = causeChain(error);
        if (said !== cause) deps.log.warn({ cause }, "membership: not all could be kept true yet");
        said = cause;
      }
      await deps.clock.sleep(keeper.isJoining ? JOINING_LOOK_MS : LOOK_MS, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await Promise.race([run, deps.clock.sleep(1_000)]);
    },
  };
}

class Keeper {
  readonly #deps: KeeperDeps;
  #written = "";

  constructor(deps: KeeperDeps) {
    this.#deps = deps;
  }

  /** Whether this machine's own server has yet to belong, or somebody's turn has yet to end. */
  get isJoining(): boolean {
    const { store, node } = this.#deps;
    return store.member(node)?.state === "admitted";
  }

  async round(): Promise<void> {
    const { store } = this.#deps;
    for (const member of store.members().values()) if (member.state === "admitted") await this.#markJoined(member);
    await this.#giveAwayPlaces();
    await this.#endTurn();
    await this.#writeMembership();
    await this.#renew();
  }

  /** A server says of itself that its nats-server belongs; of a worker the heartbeat says it. */
  async #markJoined(member: Member): Promise<void> {
    const { store, bus, node, dir, isAlive, log } = this.#deps;
    const isUp = member.role === "server" ? member.id === node && hasFormed(nodePaths(dir).nats) : isAlive(member.id);
    if (!isUp) return;
    let marked = false;
    const now = await store.change<Member>(member.id, (entry) => {
      const next = entry && joined(entry);
      marked = next !== undefined;
      return next;
    });
    if (!marked || !now) return;
    const { id, name, role, key, incarnation } = now;
    log.info({ node: id, name, role }, "membership: a machine has come up as a member");
    await bus.publishEvent(
      clusterContract,
      "member.joined",
      { node: id, name, role, key, incarnation },
      { subject: id, patienceMs: 5_000 },
    );
  }

  async #giveAwayPlaces(): Promise<void> {
    const { store, clock, log } = this.#deps;
    for (const { id, name } of overdue(store.members().values(), clock.now())) {
      const gone = await store.forget(
        id,
        (entry) => entry.kind === "member" && overdue([entry], clock.now()).length > 0,
      );
      if (gone) log.warn({ node: id, name }, "membership: a machine that was let in never came up; it is forgotten");
    }
  }

  /** The next server may join once the last one belongs, was removed, or is forgotten. */
  async #endTurn(): Promise<void> {
    const { store } = this.#deps;
    const over = ({ joining }: ClusterEntry) =>
      joining !== null && ["active", "removed"].includes(store.member(joining.node)?.state ?? "");
    if (!over(store.cluster())) return;
    await store.change<ClusterEntry>(CLUSTER_KEY, (entry) =>
      entry && over(entry) ? { ...entry, joining: null } : undefined,
    );
  }

  async #writeMembership(): Promise<void> {
    const { store, secrets, dir, node } = this.#deps;
    const members = store.members();
    const own = members.get(node);
    const current = readMembership(dir);
    if (!own || !current?.server) return;
    // The JWTs in the file are new each time; what they are made of tells whether there is something to write.
    const content = JSON.stringify([
      own.state,
      serversOf(members).map(({ id, name, state, incarnation, endpoints, key }) => [
        ...[id, name, state, incarnation],
        ...[endpoints, key],
      ]),
      revokedUsers(members),
    ]);
    if (content === this.#written) return;
    const { monitorPort: monitor, helperPorts: helper } = current.server;
    const membership = await membershipOf(own, members, store.cluster(), secrets, { monitor, helper });
    writePrivateFile(nodePaths(dir).membership, json(membership));
    // What a rescue goes by when nobody else answers any more.
    writePrivateFile(nodePaths(dir).servers, json({ version: 1, servers: serversOf(members) }));
    this.#written = content;
  }

  async #renew(): Promise<void> {
    const { store, secrets, dir, node, clock, log } = this.#deps;
    const { certificate } = nodePaths(dir).tls;
    const own = store.member(node);
    if (!own || !existsSync(certificate)) return;
    const facts = certificateFacts(readFileSync(certificate, "utf8"));
    const isNoted = own.certificate?.serial === facts.serial;
    if (isDue(facts, clock.now())) {
      const serial = await renewOwn(dir, own, secrets, new Date(clock.now()));
      log.info({ serial }, "certificate renewed");
    } else if (!isNoted) {
      const noted = { serial: facts.serial, notAfter: facts.notAfter.toISOString() };
      await store.change<Member>(node, (entry) => entry && { ...entry, certificate: noted });
    }
  }
}
