// SPDX-License-Identifier: Apache-2.0
/** Answers about the cluster and its members, out of the membership in memory; and the one-time code that lets a machine in. */
import { randomInt } from "node:crypto";
import { CertificateView, type clusterContract, MemberView, type PendingMachine } from "@debvisor/proto-events/cluster";
import type { Sighting } from "@debvisor/proto-events/discovery";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { CodeEntry, Member, WaitingEntry } from "@debvisor/proto-events/membership";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { hostPort } from "@debvisor/shared/join/addresses";
import { normaliseWords } from "@debvisor/shared/join/words";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import { stateOf } from "../model/certificates.ts";
import { CODE_KEY, CODE_LIFE_MS, CODE_TRIES, servingMembers } from "../model/membership.ts";
import { judged, openWaiting, waitingKey } from "../model/words.ts";
import type { MembershipStore } from "../reconcilers/membership-store.ts";
import type { Presence } from "../reconcilers/presence.ts";
import { toSighting } from "../reconcilers/presence.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";
import type { ReplicaStore } from "../reconcilers/replica-store.ts";

type Contract = typeof clusterContract;

export interface ClusterDeps {
  readonly members: MembershipStore;
  readonly registry: RegistryStore;
  readonly presence: Presence | undefined;
  readonly clock: Clock;
  /** What is known of the replicas of streams. */
  readonly replicas: Pick<ReplicaStore, "records">;
}

const MEMBERS = {
  fields: fieldsOf(MemberView),
  aliases: { address: "addresses" },
  id: ({ id }: MemberView) => id,
  sort: "name",
};
const CERTIFICATES = {
  fields: fieldsOf(CertificateView),
  aliases: {},
  id: ({ node }: CertificateView) => node,
  sort: "name",
};
/** How long `nodes pending` listens, in milliseconds. */
const LISTEN_MS = 1_000;
/** No letters and digits that people take for each other (Crockford base32): 5 bits each. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const CODE_LENGTH = 10;

/** Whether heartbeats of a member are heard, as the registry has it. */
function aliveOf(registry: RegistryStore, id: string): MemberView["alive"] {
  return registry.record(id)?.state ?? null;
}

export function getClusterHandler({ members, registry, replicas }: ClusterDeps) {
  return (): Output<Contract, "getCluster"> => {
    members.requireReady();
    const { cluster, formation, foundedAt, foundedBy, servers, unattendedUntil, joining } = members.cluster();
    const active = [...members.members().values()].filter(({ state }) => state === "active");
    const serving = active.filter(({ role }) => role === "server");
    return {
      ...{ cluster, formation, foundedAt, foundedBy, unattendedUntil },
      servers: {
        declared: servers,
        active: serving.length,
        alive: serving.filter(({ id }) => aliveOf(registry, id) === "alive").length,
      },
      workers: active.length - serving.length,
      joining: joining?.node ?? null,
      badReplicas: [...replicas.records.bad],
    };
  };
}

export function listMembersHandler({ members, registry }: ClusterDeps) {
  return (input: Input<Contract, "listMembers">): Output<Contract, "listMembers"> => {
    members.requireReady();
    const shown = ({ kind: _kind, busKey: _busKey, trust: _trust, order: _order, ...member }: Member): MemberView => ({
      ...member,
      alive: aliveOf(registry, member.id),
    });
    return paginate([...members.members().values()].map(shown), input, MEMBERS);
  };
}

export function listCertificatesHandler({ members, clock }: ClusterDeps) {
  return (input: Input<Contract, "listCertificates">): Output<Contract, "listCertificates"> => {
    members.requireReady();
    const present = [...members.members().values()].filter(({ state }) => state !== "removed");
    const shown = ({ id, name, certificate }: Member): CertificateView => ({
      node: id,
      name,
      state: stateOf(certificate?.notAfter, clock.now()),
      serial: certificate?.serial ?? null,
      notAfter: certificate?.notAfter ?? null,
    });
    return paginate(present.map(shown), input, CERTIFICATES);
  };
}

export function listPendingHandler({ members, presence, clock }: ClusterDeps) {
  return async (
    _input: Input<Contract, "listPending">,
    { signal }: RequestContext,
  ): Promise<Output<Contract, "listPending">> => {
    members.requireReady();
    const open = openWaiting(members.entries(), clock.now()).filter(({ verdict }) => verdict === null);
    const byWords = new Map(open.map((entry) => [entry.node, entry]));
    const hears = presence && presence.mdns.interfaces.length > 0;
    if (!hears && open.length === 0) throw new DvError("MDNS_UNAVAILABLE", "mDNS has no interface to listen on.");
    const seen = hears ? await presence.mdns.scan(LISTEN_MS, signal) : [];
    const waits = seen.filter(({ instance, txt }) => txt.st === "joining" && !members.member(instance));
    const sightings = new Map(waits.map((candidate) => [candidate.instance, toSighting(candidate, () => false)]));
    const byCode = [...sightings.values()].filter(({ instance }) => !byWords.has(instance));
    return {
      items: [
        ...byCode.map((sighting) => ({ ...sighting, words: null })),
        ...open.map((entry) => pendingByWords(entry, sightings.get(entry.node))),
      ],
    };
  };
}

/** The machine has shown its key to a server; of what mDNS says of it, only addresses are added. */
function pendingByWords({ node, name, role, version, since, words }: WaitingEntry, seen?: Sighting): PendingMachine {
  const { addresses = [], port = 0, seenAt = since } = seen ?? {};
  return { instance: node, name, addresses, port, role, status: "joining", version, member: "no", seenAt, words };
}

export function approveNodeHandler({ members, clock }: ClusterDeps) {
  return async ({ node, words }: Input<Contract, "approveNode">): Promise<Output<Contract, "approveNode">> => {
    members.requireReady();
    requireNoMember(members.member(node));
    const decide = (now: WaitingEntry | undefined) => {
      const [entry] = now ? openWaiting([now], clock.now()) : [];
      if (!entry || entry.verdict === "refused")
        throw new DvError("NOT_FOUND", `No machine with node id ${node} waits for words to be compared.`);
      return judged(entry, normaliseWords(words), clock.now());
    };
    const entry = await members.change<WaitingEntry>(waitingKey(node), decide, { fresh: true });
    if (entry?.verdict !== "approved")
      throw new DvError("JOIN_WORDS_DIFFER", `These are not the words of ${node}; its attempt is over.`);
    return { node, name: entry.name, role: entry.role, until: entry.until };
  };
}

export function acceptNodeHandler({ members, clock }: ClusterDeps) {
  return async (
    { node }: Input<Contract, "acceptNode">,
    { actor }: RequestContext,
  ): Promise<Output<Contract, "acceptNode">> => {
    members.requireReady();
    if (node !== undefined) requireNoMember(members.member(node));
    const code = Array.from({ length: CODE_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
    const until = new Date(clock.now() + CODE_LIFE_MS).toISOString();
    await members.change<CodeEntry>(CODE_KEY, () => ({
      kind: "code",
      code,
      actor,
      until,
      triesLeft: CODE_TRIES,
      node: node ?? null,
    }));
    const addresses = servingMembers(members.members()).map(({ endpoints }) =>
      hostPort(endpoints.host, endpoints.join),
    );
    return { code, until, tries: CODE_TRIES, addresses };
  };
}

/** One that was let in and has not come up may have lost what it was handed: it is let in again. @throws MEMBER_REMOVED, CONFLICT */
function requireNoMember(known: Member | undefined): void {
  if (known?.state === "removed") throw new DvError("MEMBER_REMOVED", `${known.name} was removed.`);
  if (known?.state === "active") throw new DvError("CONFLICT", `${known.name} is a member already.`);
}
