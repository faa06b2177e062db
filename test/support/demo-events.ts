// SPDX-License-Identifier: Apache-2.0
/** The events of a run of the demo: all of them, each once, those of an operation in its order. And how long orphans waited. */
import type { Chaos } from "./demo-chaos.ts";
import type { Ended } from "./demo-oracle.ts";
import type { OwnerWatch } from "./demo-owners.ts";
import type { Demo } from "./demo-run.ts";
import type { RestartWatch } from "./demo-world.ts";
import type { FollowedEvent, Follower } from "./kill-run.ts";
import type { LabNodeStatus } from "./local-cluster.ts";

const CATCH_UP_MS = 30_000;
const PREFIX = "operation.run.";

interface RunEvent extends FollowedEvent {
  readonly data: Readonly<{ operation: string; revision: number; owner?: string; epoch?: number; state: string }>;
}

/** Waits until the follower has the end of every operation, then looks at what came. */
export async function checkEvents(demo: Demo, follower: Follower, operations: readonly Ended[]): Promise<void> {
  const deadline = performance.now() + CATCH_UP_MS;
  const missing = () => {
    const ended = new Set(
      runEvents(follower)
        .filter(({ type }) => type === `${PREFIX}ended`)
        .map((e) => e.data.operation),
    );
    return operations.flatMap(({ operation: { id } }) => (id !== null && !ended.has(id) ? [id] : []));
  };
  while (missing().length > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 250));
  for (const id of missing()) demo.wrong(`no event says that ${id} has ended`);
  const holes = follower.seen.filter((seq, i) => seq !== i + 1);
  if (holes.length > 0) demo.wrong(`events were missed or seen twice, from ${holes[0]} on`);
  const ids = follower.events.map(({ id }) => id);
  if (new Set(ids).size !== ids.length)
    demo.wrong(`events are stored twice: ${ids.filter((id, i) => ids.indexOf(id) !== i).join(", ")}`);
  for (const { operation } of operations) checkOne(demo, operation.id ?? "", runEvents(follower));
}

function runEvents({ events }: Follower): readonly RunEvent[] {
  return events.filter(({ type }) => type.startsWith(PREFIX)) as unknown as readonly RunEvent[];
}

function checkOne(demo: Demo, id: string, events: readonly RunEvent[]): void {
  const own = events.filter(({ data }) => data.operation === id);
  const revisions = own.map(({ data }) => data.revision);
  const told = own.map(({ type, data }) => `${type.slice(PREFIX.length)}@${data.revision}`).join(" ");
  if (own[0]?.type !== `${PREFIX}created`) demo.wrong(`${id}: its first event is no run.created: ${told}`);
  if (own.filter(({ type }) => type === `${PREFIX}created`).length > 1) demo.wrong(`${id}: created twice: ${told}`);
  if (revisions.some((revision, i) => i > 0 && revision <= (revisions[i - 1] ?? 0)))
    demo.wrong(`${id}: its events are not in the order of its log: ${told}`);
}

/** Within which an orphan has a new owner (DESIGN.md 6). */
const ADOPT_MS = 15_000;
/** How long the bus may be without leaders when a server is killed: 4 to 7 s by themselves, 10 s beside other tests. */
const ELECTION_MS = 10_000;
/** What takes a server of the bus along. */
const BUS_PARTS: readonly string[] = ["node", "nats-server"];

/** Adoptions whose former owner is known, and the longest time from its death until the new one had the operation. */
export function slowestAdoption(
  follower: Follower,
  { owners }: OwnerWatch,
  { kills }: Chaos,
  { restarts }: RestartWatch,
  nodes: readonly LabNodeStatus[],
): { readonly slowestMs: number; readonly isLate: boolean; readonly known: number; readonly all: number } {
  const adoptions = runEvents(follower).filter(({ type }) => type === `${PREFIX}adopted`);
  const told = new Map(adoptions.map(({ data }) => [`${data.operation} ${data.epoch}`, data.owner ?? ""]));
  // An owner also ends in order, when an operation restarts it or its node; seen when the next one has started.
  const killed = new Set(kills.map(({ invocation }) => invocation));
  const ordered = restarts.filter(
    ({ unit, from }) => unit === undefined || (unit === "node-agent" && !killed.has(from)),
  );
  const ended = kills.filter(({ part }) => part === "node-agent" || part === "node");
  const deaths = [...ended, ...ordered].toSorted((a, b) => a.atMs - b.atMs);
  const waits = adoptions.flatMap(({ data, time }) => {
    const key = `${data.operation} ${(data.epoch ?? 1) - 1}`;
    const former = told.get(key) ?? owners.get(key);
    const node = nodes.find(({ id }) => former?.includes(id))?.name;
    const at = Date.parse(time);
    const death = deaths.findLast((one) => one.node === node && one.atMs < at);
    if (death === undefined) return [];
    // Nobody takes anything over before the other servers of the bus have elected.
    const isElecting = kills.some(
      ({ part, atMs }) => BUS_PARTS.includes(part) && atMs > death.atMs - ELECTION_MS && atMs < at,
    );
    return [{ ms: at - death.atMs, limitMs: isElecting ? ADOPT_MS + ELECTION_MS : ADOPT_MS }];
  });
  return {
    slowestMs: Math.max(0, ...waits.map(({ ms }) => ms)),
    isLate: waits.some(({ ms, limitMs }) => ms > limitMs),
    known: waits.length,
    all: adoptions.length,
  };
}
