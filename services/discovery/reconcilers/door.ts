// SPDX-License-Identifier: Apache-2.0
/**
 * The join port of a cluster that exists, on every server: whoever proves itself is decided upon from the membership, entered there,
 * and handed what belongs to it. Nothing leaves before the entry is acknowledged.
 */
import { timingSafeEqual } from "node:crypto";
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { ClusterEntry, CodeEntry, Member } from "@debvisor/proto-events/membership";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { createIssuer } from "@debvisor/shared/bus/trust";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { startJoinListener } from "@debvisor/shared/join/listener";
import type { JoinAnswer, JoinMessage, JoinRequest } from "@debvisor/shared/join/messages";
import type { Peer } from "@debvisor/shared/join/session";
import type { Logger } from "@debvisor/shared/log";
import { signCertificate } from "@debvisor/shared/pki/authority";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { certificateAddresses } from "../joining/take-up.ts";
import { membershipOf } from "../membership-of.ts";
import { CLUSTER_KEY, CODE_KEY, decideAdmission, openCode } from "../model/membership.ts";
import type { MembershipStore } from "./membership-store.ts";
import type { SecretsFile } from "./secrets-file.ts";
import { believedBundle, issuingAuthority } from "./trust-follower.ts";
import { enterWaiting, heldBack, leaveWaiting } from "./words-door.ts";

/** How soon a machine asks again that has to wait, in milliseconds. */
const RETRY_MS = 200;

export interface DoorDeps {
  readonly store: MembershipStore;
  readonly bus: Bus;
  readonly secrets: SecretsFile;
  readonly identityPem: string;
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Opens the join port. @throws when it cannot listen there */
export async function openDoor(deps: DoorDeps): Promise<Closable> {
  const { store, secrets, clock } = deps;
  const listener = await startJoinListener({
    host: deps.host,
    port: deps.port,
    identityPem: deps.identityPem,
    cluster: secrets.current.cluster,
    log: deps.log,
    clock,
    // Whoever is a member or was one proves itself by the secret too; whether strangers may is decided in `admit`.
    secret: () => Buffer.from(secrets.current.secret, "base64"),
    code: () => currentCode(deps),
    codeUsed: (peer) => endCode(deps, peer),
    words: (peer, facts) => enterWaiting(deps, peer, facts),
    ended: (peer) => peer.proof === "words" && leaveWaiting(deps, peer),
    isMember: (id, spki) => {
      const member = store.member(id);
      return member !== undefined && member.state !== "removed" && isEqual(member.key, spki);
    },
    handle: (peer, message) => answer(deps, peer, message),
  });
  return { stop: () => listener.stop() };
}

async function answer(deps: DoorDeps, peer: Peer, message: JoinMessage): Promise<JoinAnswer> {
  try {
    const held = peer.proof === "words" ? await heldBack(deps, peer, message) : undefined;
    if (held) return held;
    if (message.kind === "join") return await admit(deps, peer, message);
    if (message.kind === "refresh") return await refresh(deps, peer, message.tlsRequest);
    if (message.kind === "secrets") return await giveSecrets(deps, peer);
    if (message.kind === "formation") return { kind: "formation", formation: deps.store.cluster().formation };
    return { kind: "refused", code: "CONFLICT", message: "The cluster has been founded; ask to join." };
  } catch (error) {
    const { code, message: text } = toDvError(error);
    deps.log.warn({ peer: peer.id, code, error: text }, "join: no answer could be given yet");
    // The bus may be without a leader for some seconds: the machine asks again.
    return { kind: "wait", reason: "The cluster cannot enter anybody at this moment.", retryMs: 500 };
  }
}

async function admit(deps: DoorDeps, peer: Peer, request: JoinRequest): Promise<JoinAnswer> {
  const { store, clock } = deps;
  // What others wrote a moment ago may not have been seen here yet; the compare-and-set below decides on it.
  await store.fresh(peer.id);
  const decision = decideAdmission(store.members(), store.cluster(), peer, request, clock.now());
  if (decision.kind === "wait") return { kind: "wait", reason: decision.reason, retryMs: RETRY_MS };
  if (decision.kind === "refuse") return await refuse(deps, peer, request, decision);
  const { cluster } = decision;
  if (cluster && !(await takeTurn(deps, peer.id, cluster))) {
    return { kind: "wait", reason: "Another server is joining.", retryMs: RETRY_MS };
  }
  const member = await enter(deps, peer, request);
  if (!member) return { kind: "wait", reason: "The membership has just changed.", retryMs: RETRY_MS };
  const { id, name, role, key, admittedBy } = member;
  if (decision.isNew) {
    deps.log.info({ node: id, name, role, by: admittedBy }, "join: a machine was let in");
    await deps.bus.publishEvent(
      clusterContract,
      "member.admitted",
      { node: id, name, role, key, by: admittedBy },
      { subject: id, patienceMs: 5_000 },
    );
  }
  return await handOver(deps, member, request);
}

/** Notes that this server joins now; false when another one does. */
async function takeTurn({ store }: DoorDeps, id: string, wanted: ClusterEntry): Promise<boolean> {
  const before = store.cluster().joining?.node;
  const entry = await store.change<ClusterEntry>(CLUSTER_KEY, (now) =>
    now && (now.joining === null || now.joining.node === before || now.joining.node === id)
      ? { ...now, joining: wanted.joining }
      : undefined,
  );
  return entry?.joining?.node === id;
}

/** Enters the member as it is decided on the newest entry; undefined when that decision is another one now. */
async function enter(deps: DoorDeps, peer: Peer, request: JoinRequest): Promise<Member | undefined> {
  const { store, clock } = deps;
  let admitted = false;
  const member = await store.change<Member>(peer.id, (entry) => {
    const members = store.members();
    if (entry) members.set(peer.id, entry);
    const again = decideAdmission(members, store.cluster(), peer, request, clock.now());
    admitted = again.kind === "admit";
    return again.kind === "admit" ? again.member : undefined;
  });
  return admitted ? member : undefined;
}

async function refuse(
  { bus, log }: DoorDeps,
  peer: Peer,
  { name }: JoinRequest,
  { code, message }: { readonly code: string; readonly message: string },
): Promise<JoinAnswer> {
  log.warn({ node: peer.id, name, code }, `join: refused: ${message}`);
  await bus.publishEvent(
    clusterContract,
    "join.refused",
    { node: peer.id, name, code, message },
    { subject: peer.id, patienceMs: 1_000 },
  );
  return { kind: "refused", code, message };
}

/** A member asks for a new certificate and for the membership as it is now. */
async function refresh(deps: DoorDeps, peer: Peer, tlsRequest: string): Promise<JoinAnswer> {
  const member = deps.store.member(peer.id);
  if (!member || member.state === "removed")
    return { kind: "refused", code: "MEMBER_REMOVED", message: "This machine is no member." };
  return await handOver(deps, member, { tlsRequest });
}

/** Keys of the cluster leave this server for another one alone that belongs, and that has shown its node key. */
async function giveSecrets({ store, secrets, log }: DoorDeps, peer: Peer): Promise<JoinAnswer> {
  const member = await store.fresh(peer.id);
  const isServer = member?.kind === "member" && member.role === "server" && member.state === "active";
  if (!isServer || peer.proof !== "member" || !isEqual(member.key, peer.spki))
    return { kind: "refused", code: "PERMISSION_DENIED", message: "Only servers of the cluster are given its keys." };
  log.info({ node: peer.id }, "trust: another server was given the keys of the cluster");
  return { kind: "secrets", secrets: secrets.current };
}

type Asked = { readonly tlsRequest: string } | JoinRequest;

async function handOver(deps: DoorDeps, member: Member, asked: Asked): Promise<JoinAnswer> {
  const { store, clock } = deps;
  const secrets = deps.secrets.current;
  const trust = store.trust();
  const certificate = await signCertificate(issuingAuthority(secrets, trust), asked.tlsRequest, {
    cluster: secrets.cluster,
    nodeId: member.id,
    addresses: certificateAddresses(member.endpoints?.host ?? "127.0.0.1", member.addresses),
    now: new Date(clock.now()),
  });
  const { serial, notAfter } = certificateFacts(certificate);
  await store.change<Member>(member.id, (entry) =>
    entry ? { ...entry, certificate: { serial, notAfter: notAfter.toISOString() } } : undefined,
  );
  const isServer = member.role === "server";
  const local = "endpoints" in asked && isServer ? asked.endpoints : undefined;
  return {
    kind: "admitted",
    admission: {
      node: member.id,
      role: member.role,
      incarnation: member.incarnation,
      membership: await membershipOf(member, store.members(), store.cluster(), secrets, local),
      nodeJwt: await createIssuer(secrets.trust).forNodeKey(member.id, member.busKey),
      authorities: believedBundle(secrets, trust),
      certificate,
      ...(isServer ? { secrets } : {}),
      timeMs: clock.now(),
    },
  };
}

async function currentCode({ store, clock }: DoorDeps) {
  const entry = openCode(await freshCode(store), clock.now());
  if (!entry) return undefined;
  return {
    code: entry.code,
    /** Counts one try before it is known whether it was right, so that a killed server forgets none. */
    spend: async () => {
      let counted = false;
      await store.change<CodeEntry>(CODE_KEY, (now) => {
        counted = now?.code === entry.code && openCode(now, clock.now()) !== undefined;
        return counted && now ? { ...now, triesLeft: now.triesLeft - 1 } : undefined;
      });
      return counted;
    },
  };
}

/** The code was right: it is void from now on. False when somebody else used it, or it is for another machine. */
async function endCode({ store, clock, log }: DoorDeps, peer: Peer): Promise<boolean> {
  let ended = false;
  await store.change<CodeEntry>(CODE_KEY, (now) => {
    ended = now !== undefined && now.code !== "" && (now.node === null || now.node === peer.id);
    return ended && now ? { ...now, code: "", triesLeft: 0, until: timestamp(clock) } : undefined;
  });
  if (ended) log.info({ node: peer.id }, "join: the one-time code was used");
  return ended;
}

async function freshCode(store: MembershipStore): Promise<CodeEntry | undefined> {
  const entry = await store.fresh(CODE_KEY);
  return entry?.kind === "code" ? entry : undefined;
}

function isEqual(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
