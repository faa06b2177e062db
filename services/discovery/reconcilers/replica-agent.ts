// SPDX-License-Identifier: Apache-2.0
/**
 * On every server: hands a rebuild of this node's replicas on to whoever runs its nats-server, by files in the node's folder, and
 * says in the bucket what came of it.
 */
import { rmSync } from "node:fs";
import type { RebuildEntry } from "@debvisor/proto-events/replicas";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { RebuildAnswer } from "@debvisor/shared/nats-server/rebuild";
import { json, readJsonFileIfPresent, writePrivateFile } from "@debvisor/shared/node-files";
import type { ReplicaStore } from "./replica-store.ts";

export interface ReplicaAgentDeps {
  readonly store: ReplicaStore;
  /** This node. */
  readonly node: string;
  readonly files: { readonly asked: string; readonly answer: string };
  readonly clock: Clock;
  readonly log: Logger;
}

const LOOK_MS = 500;

/** Follows rebuilds until stopped. */
export function startReplicaAgent(deps: ReplicaAgentDeps): Closable {
  const { store, node, files, clock, log } = deps;
  const stopping = new AbortController();
  let current: RebuildEntry | undefined;
  const watch = store.onChange(() => {
    const { rebuild } = store.records;
    const mine = rebuild?.node === node && rebuild.state === "asked" ? rebuild : undefined;
    if (mine?.id === current?.id && mine) return;
    current = mine;
    try {
      // One that was given up must not be done late.
      if (mine) writePrivateFile(files.asked, json({ id: mine.id, streams: mine.streams }));
      else rmSync(files.asked, { force: true });
    } catch (error) {
      log.error({ error: causeChain(error) }, "the rebuild of a replica could not be handed on");
    }
  });
  const run = (async () => {
    while (!stopping.signal.aborted) {
      try {
        const answer = current && readJsonFileIfPresent(files.answer, RebuildAnswer);
        if (current && answer?.id === current.id)
          await store.end(current.id, { ...current, state: answer.outcome, why: answer.why });
      } catch (error) {
        log.warn({ error: causeChain(error) }, "the bus does not learn yet that a replica was thrown away");
      }
      await clock.sleep(LOOK_MS, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await watch.stop();
      await run;
    },
  };
}
