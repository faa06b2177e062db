// SPDX-License-Identifier: Apache-2.0
/**
 * What each identity may say and hear on the bus, derived from the contracts (DESIGN.md 5, RULES.md 9 to 15). Allow-lists
 * only. `test/integration/bus/attacks.test.ts` checks the result against a real server.
 */
import type { Contract, Uses } from "@debvisor/proto-events/kit";
import { BUCKETS, type BucketName, STREAMS } from "@debvisor/proto-events/streams";
import {
  auditSubject,
  CORE,
  eventSubject,
  inboxPrefix,
  SUBJECT_FILTERS,
  sealSubject,
} from "@debvisor/proto-events/subjects";

/** Allow-lists of a user, in the form that nats-server's JWTs take. */
export interface Permissions {
  /** An empty allow-list would allow everything, so whoever may say nothing has `deny`. */
  readonly pub: { readonly allow: string[] } | { readonly deny: [">"] };
  readonly sub: { readonly allow: string[] };
  readonly resp?: { readonly max: number; readonly ttl: number };
}

const SECOND_NS = 1_000_000_000;
/** One answer to each request, within the longest time that any operation may take. */
const ONE_ANSWER = { max: 1, ttl: 60 * SECOND_NS };
const SERVICE_PROTOCOL = ["$SRV.PING", "$SRV.PING.>", "$SRV.INFO", "$SRV.INFO.>", "$SRV.STATS", "$SRV.STATS.>"];

/**
 * Template of the scoped key that signs node users: a node speaks and hears as itself only, never creates consumers, never
 * touches a bucket. Of the audit trail it reads its own last record, to chain the next one to. The server expands `{{name()}}`, hence whoever signs checks the name first.
 */
export function nodeTemplate(): Permissions {
  const own = SUBJECT_FILTERS.template;
  return {
    pub: { allow: [own.events, own.telemetry, own.audit, lastAudit(own.audit)] },
    sub: { allow: [own.rpc, own.inbox, ...SERVICE_PROTOCOL] },
    resp: ONE_ANSWER,
  };
}

/** Tags of a core part's user: what nodes let it command, which they check themselves (RULES.md 11). */
export function coreTags(contracts: readonly Contract[]): string[] {
  return unique(contracts.flatMap(({ uses }) => uses?.commands ?? []).map(commandTag));
}

/** The tag of a user's JWT that lets it give orders to a service's node parts. */
export function commandTag(service: string): string {
  return `command:${service}`;
}

/** Permissions of a service's core part. `contracts` are those it implements; `user` is its user name. */
export function corePermissions(user: string, contracts: readonly Contract[]): Permissions {
  const publish: string[] = ["$JS.API.INFO", auditSubject(user), lastAudit(auditSubject(user))];
  const subscribe: string[] = [`${inboxPrefix(user)}.>`, ...SERVICE_PROTOCOL];
  for (const { service, uses } of contracts) {
    publish.push(SUBJECT_FILTERS.eventsOfService(CORE, service));
    subscribe.push(SUBJECT_FILTERS.rpcOfService(CORE, service));
    if (uses) addUses(user, uses, publish, subscribe);
  }
  return { pub: { allow: unique(publish) }, sub: { allow: unique(subscribe) }, resp: ONE_ANSWER };
}

/** Permissions of the one identity that creates streams and changes their size. It can neither delete nor purge them. */
export function streamAdminPermissions(user: string): Permissions {
  const names = assets();
  const verbs = ["CREATE", "UPDATE", "INFO", "PEER.REMOVE", "LEADER.STEPDOWN"];
  return {
    pub: {
      allow: [
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        ...verbs.flatMap((verb) => names.map((name) => `$JS.API.STREAM.${verb}.${name}`)),
      ],
    },
    sub: { allow: [`${inboxPrefix(user)}.>`] },
  };
}

/** Consumers by which the replicas of a stream are read side by side, one for each replica. */
export function replicaConsumers(user: string): readonly string[] {
  return ["a", "b", "c"].map((letter) => `${user}-${letter}`);
}

/**
 * Permissions of the identity that reads every replica to compare them: consumers of its own name, and nothing else. Its
 * credential is made where the cluster's secrets are, for one reading, and never stored.
 */
export function replicaReaderPermissions(user: string): Permissions {
  const places = assets().flatMap((name) => replicaConsumers(user).map((consumer) => `${name}.${consumer}`));
  const verbs = ["CREATE", "MSG.NEXT", "DELETE"];
  return {
    pub: { allow: verbs.flatMap((verb) => places.map((place) => `$JS.API.CONSUMER.${verb}.${place}`)) },
    sub: { allow: [`${inboxPrefix(user)}.>`] },
  };
}

function assets(): string[] {
  return [...Object.keys(STREAMS), ...Object.keys(BUCKETS).map(bucketStream)];
}

/** Permissions of an integrator: it hears every event and says nothing, so it reaches neither JetStream nor anybody's answer. */
export function eventReaderPermissions(user: string): Permissions {
  return { pub: { deny: [">"] }, sub: { allow: [SUBJECT_FILTERS.allEvents, `${inboxPrefix(user)}.>`] } };
}

/** Permissions of the identity in the system account that admits servers, removes peers and pushes account claims. */
export function systemPermissions(user: string): Permissions {
  return {
    pub: {
      allow: [
        "$JS.API.SERVER.REMOVE",
        "$JS.API.META.LEADER.STEPDOWN",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.SERVER.PING.ACCOUNTZ",
        "$SYS.REQ.SERVER.PING.JSZ",
        "$SYS.REQ.SERVER.PING.HEALTHZ",
      ],
    },
    sub: { allow: [`${inboxPrefix(user)}.>`] },
  };
}

/**
 * Permissions of the identity that gives a lone survivor its majority back, made for one rescue and kept nowhere: nobody else may
 * lower what the group of servers counts as one.
 */
export function rescuePermissions(user: string): Permissions {
  return {
    pub: { allow: ["$JS.API.META.RESCUE", "$JS.API.SERVER.REMOVE"] },
    sub: { allow: [`${inboxPrefix(user)}.>`] },
  };
}

/** Name of the stream behind a bucket. */
export function bucketStream(bucket: string): string {
  return `KV_${bucket}`;
}

/** The request for the last record on one or more subjects of the audit trail. */
export function lastAudit(subjects: string): string {
  return `$JS.API.DIRECT.GET.DV_AUDIT.${subjects}`;
}

/** What a user that appends to a stream may publish; the audit trail is open to everybody, each under its own name. */
function appendSubject(stream: string, user: string): string {
  if (stream === "DV_OPS") return SUBJECT_FILTERS.allOperations;
  if (stream === "DV_SEALS") return sealSubject(user);
  throw new TypeError(`a contract cannot ask to append to ${stream}`);
}

function addUses(user: string, uses: Uses, publish: string[], subscribe: string[]): void {
  for (const called of uses.calls ?? []) {
    publish.push(called === "*" ? SUBJECT_FILTERS.allRpc : SUBJECT_FILTERS.rpcOfService(CORE, called));
  }
  publish.push(...(uses.commands ?? []).map(SUBJECT_FILTERS.rpcOfServiceEverywhere), ...storageOf(user, uses));
  publish.push(...(uses.events ?? []).map((type) => eventSubject(CORE, type)));
  if (uses.census) publish.push(...SERVICE_PROTOCOL);
  if (uses.telemetry) subscribe.push(SUBJECT_FILTERS.allTelemetry);
}

/** What reading and writing the streams and buckets of a contract takes. */
function storageOf(user: string, uses: Uses): string[] {
  const { bucketsRead = [], bucketsWrite = [], streamsRead = [], streamsWrite = [], streamsWatched = [] } = uses;
  return [
    ...bucketsRead.flatMap((bucket) => readStream(bucketStream(bucket))),
    ...bucketsWrite.map((bucket) => `$KV.${bucket satisfies string as BucketName}.>`),
    ...streamsRead.flatMap(readStream),
    ...[...streamsWatched, ...streamsWrite].map((stream) => `$JS.API.STREAM.INFO.${stream}`),
    ...streamsWrite.map((stream) => appendSubject(stream, user)),
  ];
}

function readStream(stream: string): string[] {
  return [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.>`,
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.INFO.${stream}.>`,
    `$JS.API.CONSUMER.DELETE.${stream}.>`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.>`,
    `$JS.ACK.${stream}.>`,
    `$JS.FC.${stream}.>`,
  ];
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}
