// SPDX-License-Identifier: Apache-2.0
/**
 * Signs the head of the tree: one server by lease, when there are new records, every ten seconds or thousand records. Other
 * nodes cosign it before it is stored; with fewer than three nodes it has fewer witnesses and says so. Nothing is signed before
 * the trail and the checkpoints of all sealers have been read and compared, nor after they contradicted each other.
 */
import { randomBytes } from "node:crypto";
import { auditContract, type Checkpoint, type SealedCheckpoint } from "@debvisor/proto-events/audit";
import { signCheckpoint } from "@debvisor/shared/audit/checkpoint";
import { sealLine } from "@debvisor/shared/audit/trail-file";
import type { Bus } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { causeChain, toDvError } from "@debvisor/shared/errors";
import { holdLease, type Lease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import type { AuditConfig } from "../config.ts";
import { GENERATION } from "../model/generation.ts";
import type { Alarms } from "./alarms.ts";
import type { Seals } from "./seals.ts";
import type { Trail } from "./trail.ts";
import type { Witnesses } from "./witnesses.ts";

const LOOK_MS = 250;

export interface SealerDeps {
  readonly bus: Bus;
  readonly trail: Trail;
  readonly seals: Seals;
  readonly alarms: Alarms;
  readonly witnesses: Witnesses;
  readonly cluster: string;
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly config: Pick<AuditConfig, "sealEveryMs" | "sealEveryRecords" | "leaseSeconds">;
}

/** Starts wishing for the lease. */
export function startSealer(deps: SealerDeps): { readonly held: boolean; stop(): Promise<void> } {
  const rounds = new Set<Promise<void>>();
  const lease = holdLease(deps.bus, "audit-sealer", deps.owner, {
    ttlSeconds: deps.config.leaseSeconds,
    log: deps.log,
    clock: deps.clock,
    onHeld: (signal) => {
      const round = run(deps, () => lease, signal).finally(() => rounds.delete(round));
      rounds.add(round);
    },
    onLost: () => undefined,
  });
  return {
    get held() {
      return lease.held;
    },
    stop: async () => {
      await lease.stop();
      await Promise.race([Promise.all(rounds), deps.clock.sleep(1_000)]);
    },
  };
}

async function run(deps: SealerDeps, lease: () => Lease, signal: AbortSignal): Promise<void> {
  const { clock, log, trail, seals, alarms, config } = deps;
  let sealedAt = clock.monotonic();
  let isRead = false;
  while (!signal.aborted) {
    await clock.sleep(LOOK_MS, signal);
    try {
      isRead ||= await isUpToDate(deps);
      const unsealed = trail.size - (seals.latest?.sealed.checkpoint.size ?? 0);
      const isDue = unsealed >= config.sealEveryRecords || clock.monotonic() - sealedAt >= config.sealEveryMs;
      if (!isRead || alarms.stopCause || unsealed <= 0 || !isDue || signal.aborted) continue;
      await seal(deps, lease, signal);
      sealedAt = clock.monotonic();
    } catch (error) {
      log.warn({ error: causeChain(error) }, "audit: the trail could not be sealed yet");
      await clock.sleep(1_000, signal);
    }
  }
}

/** Whether everything that a predecessor sealed is known and compared. */
async function isUpToDate({ trail, seals }: SealerDeps): Promise<boolean> {
  if (!trail.caughtUp || !seals.caughtUp) return false;
  const [{ lastSeq }, stored] = await Promise.all([trail.journal.range(), seals.journal.range()]);
  seals.compareWaiting();
  return trail.size >= lastSeq && seals.lastSeq >= stored.lastSeq && !seals.isAhead;
}

async function seal(deps: SealerDeps, lease: () => Lease, signal: AbortSignal): Promise<void> {
  const { bus, trail, seals, alarms, witnesses, cluster, clock, log } = deps;
  const size = trail.size;
  const head = { cluster, generation: GENERATION, size, root: trail.tree.root(size), time: timestamp(clock) };
  const checkpoint: Checkpoint = signCheckpoint(head, bus.signer);
  const sealed: SealedCheckpoint = { checkpoint, witnesses: await witnesses.ask(checkpoint, signal) };
  if (!lease().held || alarms.stopCause) return;
  const last = await seals.journal.last(bus.user);
  const id = randomBytes(16).toString("hex");
  await seals.journal.append(bus.user, sealLine(sealed), { expected: last?.seq ?? 0, id });
  seals.note(sealed);
  const payload = { generation: GENERATION, size, root: head.root, witnesses: sealed.witnesses.length };
  log.debug(payload, "audit: sealed");
  try {
    await bus.publishEvent(auditContract, "checkpoint.sealed", payload, { subject: bus.user, patienceMs: 3_000 });
  } catch (error) {
    // The checkpoint is stored, and the next one is announced again.
    log.warn({ size, code: toDvError(error).code }, "audit: a checkpoint was not announced");
  }
}
