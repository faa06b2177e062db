// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a bad replica may be rebuilt, pure. A rebuild stops one server for seconds and throws away what it has of a stream; it
 * must cost neither a majority nor the last good copy (RULES.md 18, 19).
 */
import type { ReplicaVerdict } from "@debvisor/proto-events/cluster";
import type { JudgedReplica, LookState } from "./replica-health.ts";

/** A server and the streams of which its replicas are to be thrown away. */
export interface RebuildPlan {
  readonly server: string;
  readonly streams: readonly string[];
}

/** What to do about bad replicas: rebuild those of one server, and who is left alone for which reason. */
export interface RebuildDecision {
  readonly plan: RebuildPlan | undefined;
  readonly refused: readonly { readonly server: string; readonly stream: string; readonly why: string }[];
}

/** Where the copy is bad and a good one puts it right. */
const CURABLE: ReadonlySet<ReplicaVerdict> = new Set(["holes", "short", "damaged", "stalled"]);
/** Where the replica still counts for a majority. */
const VOTES: ReadonlySet<ReplicaVerdict> = new Set(["good", "holes", "short", "damaged"]);
/** Good copies that have to be left. */
const COPIES = 2;

/** Whether a verdict is worth an alarm. A server that is away or catching up has its own. */
export function isBad(verdict: ReplicaVerdict): boolean {
  return !["good", "behind", "silent"].includes(verdict);
}

/** Decides; at most one server at a time. `recent`: pairs `server stream` that were tried a short while ago. */
export function decideRebuild(
  judged: readonly JudgedReplica[],
  look: LookState,
  recent: ReadonlySet<string> = new Set(),
): RebuildDecision {
  const refused: { server: string; stream: string; why: string }[] = [];
  const byServer = new Map<string, string[]>();
  for (const { server, stream, verdict } of judged.filter((one) => isBad(one.verdict))) {
    const why = CURABLE.has(verdict) ? refusal({ server, stream }, judged, look, recent) : `it is ${verdict}`;
    if (why !== undefined) refused.push({ server, stream, why });
    else byServer.set(server, [...(byServer.get(server) ?? []), stream]);
  }
  const [chosen] = [...byServer].sort(([a, x], [b, y]) => y.length - x.length || a.localeCompare(b));
  return { plan: chosen && { server: chosen[0], streams: chosen[1].sort() }, refused };
}

/** Why a replica is not rebuilt; undefined when it may be. */
function refusal(
  { server, stream }: { server: string; stream: string },
  judged: readonly JudgedReplica[],
  look: LookState,
  recent: ReadonlySet<string>,
): string | undefined {
  const others = judged.filter((one) => one.stream === stream && one.server !== server);
  const good = others.filter(({ verdict }) => verdict === "good").length;
  if (good < COPIES || good < others.length) return `of ${others.length} other replicas only ${good} are good`;
  if (recent.has(`${server} ${stream}`)) return "it was tried a short while ago";
  const away = look.servers.filter((name) => name !== server && look.answered.get(name) !== undefined);
  const silent = look.servers.filter((name) => name !== server && !look.answered.has(name));
  if (look.servers.length === 0) return "the group of servers has no leader";
  if (silent.length > 0 || away.length > 0)
    return `another server is not well: ${[...silent, ...away].sort().join(", ")}`;
  const held = new Set(judged.filter((one) => one.server === server).map((one) => one.stream));
  const weak = judged.find((one) => one.server !== server && held.has(one.stream) && !VOTES.has(one.verdict));
  return weak && `the replica of ${weak.stream} on ${weak.server} is ${weak.verdict}`;
}
