// SPDX-License-Identifier: Apache-2.0
/**
 * The loop that turns heartbeats and silence into states. It runs on every server and acts on the holder of lease
 * `registry-projector` only. It also publishes what a predecessor, or an instance that died, wrote but did not announce.
 */
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import { holdLease, type Lease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import type { DiscoveryConfig } from "../config.ts";
import { nameOwners, type Outcome, project } from "../model/registry.ts";
import type { RegistryStore } from "./registry-store.ts";

/** What the projector needs. */
export interface ProjectorDeps {
  readonly store: RegistryStore;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Logger;
  readonly owner: string;
  readonly config: Pick<DiscoveryConfig, "checkEveryMs" | "leaseSeconds">;
}

/** Nodes that are written at the same time. */
const PARALLEL = 16;
/** A round that comes so much later than planned means that this process was paused and may have missed heartbeats. */
const PAUSE_MS = 2_000;
/** How long another instance may take to announce its own change before the projector does it. */
const ANNOUNCE_GRACE_MS = 3_000;

/** Starts the loop. */
export function startProjector(deps: ProjectorDeps): { readonly held: boolean; stop(): Promise<void> } {
  const { store, clock, log, config } = deps;
  const stopping = new AbortController();
  const pending = new Map<string, { readonly head: string; readonly since: number }>();
  const lease = holdLease(deps.bus, "registry-projector", deps.owner, {
    ttlSeconds: config.leaseSeconds,
    onHeld: () => pending.clear(),
    onLost: () => undefined,
    log,
    clock,
  });
  const run = loop();

  async function loop(): Promise<void> {
    let lastRound = clock.monotonic();
    while (!stopping.signal.aborted) {
      await clock.sleep(config.checkEveryMs, stopping.signal);
      if (clock.monotonic() - lastRound > config.checkEveryMs + PAUSE_MS) store.resetGrace();
      lastRound = clock.monotonic();
      if (!store.isListening() || !lease.held) continue;
      await round(deps, lease, pending);
      // A slow round is our own doing; heartbeats were received meanwhile, so it must not count as a pause.
      lastRound = clock.monotonic();
    }
  }

  return {
    get held() {
      return lease.held;
    },
    async stop() {
      stopping.abort();
      await lease.stop();
      await run;
    },
  };
}

async function round(
  { store, clock, log }: ProjectorDeps,
  lease: Lease,
  pending: Map<string, { head: string; since: number }>,
): Promise<void> {
  const owners = nameOwners(store.records());
  const due = store.ids().filter((id) => project(store.record(id), store.live(id), store.view(owners)));
  const one = async (id: string) => {
    if (!lease.held) return;
    try {
      const decide = (record = store.record(id)): Outcome | undefined =>
        project(record, store.live(id), store.view(owners));
      const written = await store.change(id, (record) => claim(owners, decide(record)));
      if (written) owners.set(written.name, owners.get(written.name) ?? id);
    } catch (error) {
      log.warn({ node: id, error: causeChain(error) }, "registry: a state is not written yet");
    }
  };
  for (let at = 0; at < due.length; at += PARALLEL) await Promise.all(due.slice(at, at + PARALLEL).map(one));
  announceLeftovers(store, clock, pending);
}

/** Reserves the name at once, since several nodes of a round are written at the same time. */
function claim(owners: Map<string, string>, outcome: Outcome | undefined): Outcome | undefined {
  if (outcome && !owners.has(outcome.record.name)) owners.set(outcome.record.name, outcome.record.id);
  return outcome;
}

function announceLeftovers(
  store: RegistryStore,
  clock: Clock,
  pending: Map<string, { head: string; since: number }>,
): void {
  const now = clock.monotonic();
  for (const { id, outbox, deleted } of store.records()) {
    const head = outbox[0]?.id ?? (deleted ? "delete" : undefined);
    const known = pending.get(id);
    if (head === undefined) pending.delete(id);
    else if (known?.head !== head) pending.set(id, { head, since: now });
    else if (now - known.since >= ANNOUNCE_GRACE_MS) store.publishPending(id);
  }
  for (const id of pending.keys()) if (!store.record(id)) pending.delete(id);
}
