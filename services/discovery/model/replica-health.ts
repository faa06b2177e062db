// SPDX-License-Identifier: Apache-2.0
/**
 * Which replica of a stream is bad, and whether it may be rebuilt; pure. Sequences never come back and replicas apply the same log,
 * so a replica is compared with what others had *before*: what one had then, another that is sound has now, or knows to be gone.
 * A look is no instant, and writes go on; one look alone proves nothing (RULES.md 18).
 */
import type { ReplicaVerdict } from "@debvisor/proto-events/cluster";

/** A replica as its server describes it. */
export interface ReplicaState {
  readonly server: string;
  readonly stream: string;
  readonly messages: number;
  readonly first: number;
  readonly last: number;
  readonly deleted: number;
  /** When the first and the last message were stored, in milliseconds since 1970. */
  readonly firstAt: number | undefined;
  readonly lastAt: number | undefined;
  readonly leader: string | undefined;
  readonly peers: readonly string[];
}

/** One look at all servers. */
export interface LookState {
  /** When it was made, in milliseconds since 1970. */
  readonly at: number;
  readonly servers: readonly string[];
  /** Those that answered, and why one says that it is not healthy. */
  readonly answered: ReadonlyMap<string, string | undefined>;
  readonly replicas: readonly ReplicaState[];
}

/** A replica and what is thought of it. */
export interface JudgedReplica {
  readonly server: string;
  readonly stream: string;
  readonly verdict: ReplicaVerdict;
  /** For people; empty when good. */
  readonly why: string;
  /** Counters of the later look; undefined where the server gave none. */
  readonly state: ReplicaState | undefined;
}

/** Looks to judge by, moments apart. `earlier`: one of a minute ago, where there is one. */
export interface Looks {
  readonly earlier?: LookState | undefined;
  readonly before: LookState;
  readonly now: LookState;
}

/** What is taken from a stream by itself, and what is therefore no damage. */
export interface StreamHabits {
  /** Nothing is taken from between its first and its last message. */
  readonly appendOnly: boolean;
  /** Age in milliseconds after which messages go; 0: never. */
  readonly maxAgeMs: number;
  /** Single keys expire. */
  readonly ttl: boolean;
}

/** Each server lets messages expire by its own clock; so far those may be apart. */
const SKEW_MS = 3_600_000;

/** What reading all replicas of a stream found. */
export interface ReadingFinding {
  /** Servers whose replica is damaged. */
  readonly damaged: readonly { readonly server: string }[];
  /** Messages of which nobody can say which replica is right. */
  readonly unclear: number;
}

/** Judges every replica that a stream has or should have. */
export function judgeReplicas(
  looks: Looks,
  habits: (stream: string) => StreamHabits,
  readings: ReadonlyMap<string, ReadingFinding> = new Map(),
): JudgedReplica[] {
  const streams = [...new Set(looks.now.replicas.map(({ stream }) => stream))].sort();
  return streams.flatMap((stream) => judgeStream(stream, looks, habits(stream), readings.get(stream)));
}

interface StreamLook {
  readonly earlier: ReadonlyMap<string, ReplicaState>;
  readonly before: ReadonlyMap<string, ReplicaState>;
  readonly now: ReadonlyMap<string, ReplicaState>;
}

function judgeStream(
  stream: string,
  looks: Looks,
  habits: StreamHabits,
  reading: ReadingFinding | undefined,
): JudgedReplica[] {
  const of = (look: LookState | undefined) =>
    new Map((look?.replicas ?? []).filter((one) => one.stream === stream).map((one) => [one.server, one] as const));
  const views: StreamLook = { earlier: of(looks.earlier), before: of(looks.before), now: of(looks.now) };
  return peersOf(views.now).map((server) => {
    const state = views.now.get(server);
    const finding =
      byAnswer(server, looks, views) ??
      byHoles(server, views, habits) ??
      byReading(server, reading) ??
      byBeginning(server, views, habits, looks.now.at) ??
      byLast(server, views) ??
      byCount(server, views, habits);
    return { server, stream, verdict: finding?.verdict ?? "good", why: finding?.why ?? "", state };
  });
}

type Finding = { readonly verdict: ReplicaVerdict; readonly why: string } | undefined;

/** Servers that should have a replica: in the words of the leader; without one, of everybody. */
function peersOf(now: ReadonlyMap<string, ReplicaState>): string[] {
  const leading = [...now.values()].find(({ server, leader }) => server === leader);
  const peers = leading ? leading.peers : [...now.values()].flatMap((one) => one.peers);
  return [...new Set(peers)].sort();
}

function byAnswer(server: string, { earlier, before, now }: Looks, views: StreamLook): Finding {
  if (!now.answered.has(server)) {
    const isGone = [earlier, before].every((look) => look !== undefined && !look.answered.has(server));
    return isGone
      ? { verdict: "unhealthy", why: "its server has not answered for a minute" }
      : { verdict: "silent", why: "its server does not answer" };
  }
  const why = now.answered.get(server);
  // A server that has just started says so as well, until it has caught up.
  const stays = [earlier, before].every((look) => look?.answered.get(server) !== undefined);
  if (why !== undefined && stays) return { verdict: "unhealthy", why };
  if (views.now.has(server)) return undefined;
  // One that has just started does not know of all of them at once.
  const neverHad = [earlier, before].every((look) => look?.answered.has(server));
  return neverHad && !views.before.has(server) && !views.earlier.has(server)
    ? { verdict: "absent", why: "its server does not know of it" }
    : { verdict: "behind", why: "its server has just begun with it" };
}

function byHoles(server: string, { before, now }: StreamLook, { appendOnly }: StreamHabits): Finding {
  if (!appendOnly) return undefined;
  const missing = [before, now].map((look) => holesOf(look.get(server)));
  // Messages are only taken from the beginning, so a hole stays; a counter that was read in between does not.
  if (!missing.every((count) => count > 0)) return undefined;
  return { verdict: "holes", why: `${missing[1]} messages are missing between its first and its last` };
}

function byReading(server: string, reading: ReadingFinding | undefined): Finding {
  if (reading?.damaged.some((one) => one.server === server))
    return { verdict: "damaged", why: "messages of it cannot be read, or are not what the others have" };
  if (!reading?.unclear) return undefined;
  return { verdict: "differs", why: `${reading.unclear} messages differ, and no two replicas agree` };
}

function holesOf(state: ReplicaState | undefined): number {
  if (!state) return 0;
  return Math.max(state.deleted, state.last - state.first + 1 - state.messages);
}

/** A replica begins later than another that has applied at least as much: it lost its beginning. */
function byBeginning(server: string, { before, now }: StreamLook, { maxAgeMs }: StreamHabits, at: number): Finding {
  const mine = before.get(server);
  // One whose beginning moves down is being filled.
  if (!mine || (now.get(server)?.first ?? 0) < mine.first) return undefined;
  const longer = [...now.values()].filter(
    (one) => one.server !== server && one.last >= mine.last && one.first < mine.first,
  );
  const others = [...now.values()].filter((one) => one.server !== server);
  if (longer.length === 0) return undefined;
  const lostAt = mine.firstAt ?? Math.max(...longer.map(({ lastAt }) => lastAt ?? 0));
  if (maxAgeMs > 0 && at - lostAt > maxAgeMs - SKEW_MS) return undefined;
  const why = `it begins at ${mine.first}, others at ${Math.min(...longer.map(({ first }) => first))}`;
  return { verdict: longer.length > others.length / 2 ? "short" : "differs", why };
}

function byLast(server: string, { earlier, before, now }: StreamLook): Finding {
  const mine = now.get(server);
  if (!mine) return undefined;
  const others = [...before.values()].filter((one) => one.server !== server);
  const ahead = others.filter((one) => one.last > mine.last);
  if (ahead.length === 0) return undefined;
  const missing = Math.max(...ahead.map(({ last }) => last)) - mine.last;
  const then = earlier.get(server)?.last;
  const wasBehind = [...earlier.values()].some((one) => one.last > mine.last);
  if (then === undefined || mine.last > then || !wasBehind)
    return { verdict: "behind", why: `it is ${missing} messages behind` };
  return ahead.length > others.length / 2
    ? { verdict: "stalled", why: `it is ${missing} messages behind and gets none` }
    : { verdict: "differs", why: `one other has ${missing} messages more, the rest has not` };
}

/** Replicas that stand at the same place have the same number of messages, where keys do not expire by each server's clock. */
function byCount(server: string, { before, now }: StreamLook, { appendOnly, ttl }: StreamHabits): Finding {
  if (ttl) return undefined;
  const counts = [before, now].map((look) => {
    const mine = look.get(server);
    const same = [...look.values()].filter(
      (one) =>
        one.server !== server &&
        one.first === mine?.first &&
        one.last === mine.last &&
        // What has holes is bad by its own counters, and no witness against others.
        !(appendOnly && holesOf(one) > 0),
    );
    return { mine: mine?.messages ?? 0, others: same.map(({ messages }) => messages), all: look.size - 1 };
  });
  const differ = counts.every(({ mine, others }) => others.some((messages) => messages !== mine));
  if (!differ) return undefined;
  const { mine, others, all } = counts[1] ?? { mine: 0, others: [], all: 0 };
  const why = `it has ${mine} messages, the others ${[...new Set(others)].join(" and ")}`;
  // Two of three that agree outvote the third; one of them is not suspect because of it.
  if (others.length < all || all < 2) return { verdict: "differs", why };
  if (others.includes(mine)) return undefined;
  const agree = new Set(others).size === 1;
  return { verdict: agree && (others[0] ?? 0) > mine ? "short" : "differs", why };
}
