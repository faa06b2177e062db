// SPDX-License-Identifier: Apache-2.0
/**
 * The audit trail: sealed, reaped and answered for by the core part on server nodes, cosigned by the node part everywhere. A
 * server node without readable memory of what it cosigned does not start as a witness, and the service says why.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { auditContract } from "@debvisor/proto-events/audit";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import { type TrustChain, trustChain } from "@debvisor/shared/audit/trust";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { toDvError } from "@debvisor/shared/errors";
import { defineService, type ServiceContext } from "@debvisor/shared/service";
import { type AuditConfig, auditConfig } from "./config.ts";
import { cosignCheckpointHandler } from "./operations/cosign-checkpoint.ts";
import { getSealHandler } from "./operations/get-seal.ts";
import { listRecordsHandler } from "./operations/list-records.ts";
import { proveRecordHandler } from "./operations/prove-record.ts";
import { readTrailHandler } from "./operations/read-trail.ts";
import { Alarms } from "./reconcilers/alarms.ts";
import { Archive, startArchive } from "./reconcilers/archive.ts";
import { Fullness } from "./reconcilers/fullness.ts";
import { JournalCopy } from "./reconcilers/journal-copy.ts";
import { ReadRecorder } from "./reconcilers/read-recorder.ts";
import { startReaper } from "./reconcilers/reaper.ts";
import { startSealer } from "./reconcilers/sealer.ts";
import { Seals } from "./reconcilers/seals.ts";
import { Trail } from "./reconcilers/trail.ts";
import { startTrailCheck } from "./reconcilers/trail-check.ts";
import { Witness } from "./reconcilers/witness.ts";
import { Witnesses } from "./reconcilers/witnesses.ts";

type Context = ServiceContext<AuditConfig>;

const RETRY_MS = 1_000;

export const auditService = defineService({
  name: "audit",
  config: auditConfig,
  async start(context) {
    const trust = trustChain(context.node.trust);
    const witness = await startWitness(context, trust);
    const core = context.coreBus ? startCore(context, context.coreBus, trust) : undefined;
    return {
      ready: () => core?.waitsFor(),
      stop: async () => {
        await Promise.all([core?.stop(), witness.stop()]);
      },
    };
  },
});

/** The node part. */
async function startWitness(context: Context, trust: TrustChain): Promise<Closable> {
  const { node, nodeBus, clock, log } = context;
  const stateDir = join(node.stateDir, "witness");
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const alarms = new Alarms({ bus: nodeBus, stateDir, clock, log });
  const witness = new Witness({ signer: nodeBus.signer, trust, alarms, cluster: node.cluster, stateDir, clock });
  const served = await nodeBus.serve(auditContract, "node", { cosignCheckpoint: cosignCheckpointHandler({ witness }) });
  return {
    stop: async () => {
      await Promise.all([served.stop(), alarms.stop()]);
    },
  };
}

/** The core part. Comes up once trail and checkpoints have been read, however long that takes. */
function startCore(context: Context, bus: Bus, trust: TrustChain) {
  const { clock, log } = context;
  const stopping = new AbortController();
  const running: Closable[] = [];
  let waitsFor: string | undefined = "the audit trail";
  const up = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await bringUp(context, bus, trust, running, stopping.signal);
        waitsFor = undefined;
        return;
      } catch (error) {
        const { code, message } = toDvError(error);
        waitsFor = `the audit trail: ${message}`;
        log.warn({ code, error: message }, "audit: the trail cannot be read yet");
        await Promise.all(running.splice(0).map((one) => one.stop()));
        await clock.sleep(RETRY_MS, stopping.signal);
      }
    }
  })();
  return {
    waitsFor: () => waitsFor,
    stop: async () => {
      stopping.abort();
      await Promise.race([up, clock.sleep(RETRY_MS)]);
      // In reverse: whoever uses something ends before it.
      for (const one of running.splice(0).reverse()) await one.stop();
    },
  };
}

async function bringUp(
  context: Context,
  bus: Bus,
  trust: TrustChain,
  running: Closable[],
  signal: AbortSignal,
): Promise<void> {
  const { config, node, clock, log } = context;
  const shared = { bus, trust, clock, log, config, cluster: node.cluster, owner: node.id, stateDir: node.stateDir };
  const emitter = openEmitter({ bus, clock, log, boot: node.bootId });
  const alarms = new Alarms(shared);
  const trail = new Trail({ ...shared, alarms });
  const seals = new Seals({ ...shared, trail, alarms });
  const witnesses = new Witnesses({ ...shared, trail, alarms, node: node.id, waitMs: config.witnessWaitMs });
  const reads = new ReadRecorder({ emitter, clock, log });
  // In the local cluster the journal is that of the developer's machine, not the node's.
  const copy = config.journal && node.root === "/" ? new JournalCopy(clock, log) : undefined;
  running.push(emitter, alarms, trail, seals, witnesses);
  await trail.start();
  while (!trail.caughtUp && !signal.aborted) await clock.sleep(20, signal);
  await seals.start();
  while (!seals.caughtUp && !signal.aborted) await clock.sleep(20, signal);
  await witnesses.start();
  if (signal.aborted) return;
  if (copy) {
    running.push(copy);
    trail.onRecord((record, seq) => copy.add(record, seq));
  }
  const archive = new Archive(node.stateDir);
  const fullness = new Fullness(shared);
  const all = {
    ...shared,
    emitter,
    archive,
    fullness,
    alarms,
    trail,
    seals,
    witnesses,
    reads,
    copy,
    anchor: node.trust,
  };
  running.push(startTrailCheck({ ...all, everyMs: config.checkEveryMs }), startSealer(all), startReaper(all));
  running.push(startArchive({ ...all, archive }), fullness);
  fullness.start();
  running.push(
    await bus.serve(auditContract, "core", {
      listRecords: listRecordsHandler(all),
      readTrail: readTrailHandler(all),
      getSeal: getSealHandler(all),
      proveRecord: proveRecordHandler(all),
    }),
  );
}
