// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the membership and a server's files true to each other: enters the cluster when it was founded here, marks who has come up,
 * gives away the place of who never did, writes routes and revocations into the membership file, and keeps this server's certificate.
 */
import { existsSync, readFileSync } from "node:fs";
import { clusterContract } from "@debvisor/proto-events/cluster";
import { type ClusterEntry, Member, type MembershipEntry } from "@debvisor/proto-events/membership";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { timestamp } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { hasFormed } from "@debvisor/shared/nats-server/member";
import { json, nodePaths, readJsonFileIfPresent, readMembership, writePrivateFile } from "@debvisor/shared/node-files";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { z } from "zod";
import { membershipOf, revokedUsers } from "../membership-of.ts";
import { closedInTime, redated } from "../model/founding-date.ts";
import { ADMITTED_FOR_MS, CLUSTER_KEY, joined, serversOf } from "../model/membership.ts";
import { openWaiting, waitingKey } from "../model/words.ts";
import type { AgreedClock } from "./agreed-clock.ts";
import type { MembershipStore } from "./membership-store.ts";
import type { SecretsFile } from "./secrets-file.ts";
import type { TrustFollower } from "./trust-follower.ts";

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
  readonly secrets: SecretsFile;
  readonly trust: TrustFollower;
  /** Folder with the node's files. */
  readonly dir: string;
  readonly node: string;
  /** Whether heartbeats of a node have been heard. */
  readonly isAlive: (id: string) => boolean;
  /** How long the cluster secret lets machines in after the founding, in milliseconds. */
  readonly unattendedMs: number;
  readonly clock: AgreedClock;
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
  /** Since when each has been seen to be on its way, by the monotonic clock: the wall clocks of two servers may differ by years. */
  readonly #admittedSince = new Map<string, number>();

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
    await this.#endWaiting();
    await this.#endTurn();
    await this.#dateFounding();
    await this.#closeInTime();
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
    const now = clock.monotonic();
    const admitted = new Map([...store.members()].filter(([, { state }]) => state === "admitted"));
    for (const id of this.#admittedSince.keys()) if (!admitted.has(id)) this.#admittedSince.delete(id);
    for (const [id, { name }] of admitted) {
      const since = this.#admittedSince.get(id) ?? now;
      this.#admittedSince.set(id, since);
      if (now - since <= ADMITTED_FOR_MS) continue;
      const gone = await store.forget(id, (entry) => entry.kind === "member" && entry.state === "admitted");
      if (gone) log.warn({ node: id, name }, "membership: a machine that was let in never came up; it is forgotten");
    }
  }

  /** A server that was killed leaves entries of machines that waited at its join port. */
  async #endWaiting(): Promise<void> {
    const { store, clock } = this.#deps;
    for (const entry of store.entries()) {
      const isOver = (now: MembershipEntry) => now.kind === "waiting" && openWaiting([now], clock.now()).length === 0;
      if (entry.kind === "waiting" && isOver(entry)) await store.forget(waitingKey(entry.node), isOver);
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

  /** The founder's business alone: by its clock the founding was dated. */
  async #dateFounding(): Promise<void> {
    const { store, node, clock, unattendedMs, log } = this.#deps;
    const date = (entry: ClusterEntry) =>
      entry.foundedBy === node ? redated(entry, clock.now(), unattendedMs) : undefined;
    if (!date(store.cluster())) return;
    await store.change<ClusterEntry>(CLUSTER_KEY, (entry) => entry && date(entry));
    log.warn("membership: the clock was wrong when the cluster was founded; the founding is dated anew");
  }

  /** The founder may by its own clock, which has dated it; the others only by one that most servers agree with. */
  async #closeInTime(): Promise<void> {
    const { store, node, clock, unattendedMs, log } = this.#deps;
    const close = (entry: ClusterEntry) =>
      entry.foundedBy === node || clock.isAgreed ? closedInTime(entry, clock.now(), unattendedMs) : undefined;
    if (!close(store.cluster())) return;
    await store.change<ClusterEntry>(CLUSTER_KEY, (entry) => entry && close(entry));
    log.info("membership: the time is over; the cluster secret lets no more machines in");
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
    const membership = await membershipOf(own, members, store.cluster(), secrets.current, { monitor, helper });
    writePrivateFile(nodePaths(dir).membership, json(membership));
    // What a rescue goes by when nobody else answers any more.
    writePrivateFile(nodePaths(dir).servers, json({ version: 1, servers: serversOf(members) }));
    this.#written = content;
  }

  async #renew(): Promise<void> {
    const { store, trust, dir, node } = this.#deps;
    await trust.takeUp();
    const { certificate } = nodePaths(dir).tls;
    const own = store.member(node);
    if (!own || !existsSync(certificate)) return;
    const { serial, notAfter } = certificateFacts(readFileSync(certificate, "utf8"));
    if (own.certificate?.serial === serial) return;
    const noted = { serial, notAfter: notAfter.toISOString() };
    await store.change<Member>(node, (entry) => entry && { ...entry, certificate: noted });
  }
}
