// SPDX-License-Identifier: Apache-2.0
/** The sealer's side of cosigning: asks other nodes, and proves to each that the tree only grew since it last signed. */
import { auditContract, type Checkpoint, type Cosignature } from "@debvisor/proto-events/audit";
import { NodeEntry } from "@debvisor/proto-events/discovery";
import { faultOfCosignature } from "@debvisor/shared/audit/checkpoint";
import type { TrustChain } from "@debvisor/shared/audit/trust";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { type DvError, toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { WANTED_WITNESSES, witnessCandidates } from "../model/witness-choice.ts";
import type { Alarms } from "./alarms.ts";
import type { Trail } from "./trail.ts";

/** Nodes asked at a time. */
const PARALLEL = 4;

export interface WitnessesDeps {
  readonly bus: Bus;
  readonly trail: Trail;
  readonly trust: TrustChain;
  readonly alarms: Alarms;
  /** Id of the node that this instance runs on. */
  readonly node: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly waitMs: number;
}

export class Witnesses {
  readonly #deps: WitnessesDeps;
  readonly #nodes = new Map<string, NodeEntry>();
  /** Size that a witness said it signed last. */
  readonly #lastSizes = new Map<string, number>();
  #watch: Closable | undefined;

  constructor(deps: WitnessesDeps) {
    this.#deps = deps;
  }

  /** Begins to follow who is there. @throws BUS_UNAVAILABLE */
  async start(): Promise<void> {
    const bucket = await this.#deps.bus.bucket("dv_nodes", NodeEntry);
    this.#watch = await bucket.watch(({ key, entry }) => {
      if (entry) this.#nodes.set(key, entry.value);
      else this.#nodes.delete(key);
    });
  }

  async stop(): Promise<void> {
    await this.#watch?.stop();
  }

  /** How many other nodes live. */
  get alive(): number {
    return witnessCandidates([...this.#nodes.values()], this.#deps.node, 0).length;
  }

  /** Asks until two nodes have signed, all were asked or the time is over; who signs in the same moment counts as well. */
  async ask(checkpoint: Checkpoint, signal: AbortSignal): Promise<Cosignature[]> {
    const { clock, node, waitMs } = this.#deps;
    const queue = witnessCandidates([...this.#nodes.values()], node, checkpoint.size);
    const signed: Cosignature[] = [];
    const done = new AbortController();
    const ends = clock.monotonic() + waitMs;
    const worker = async () => {
      for (let id = queue.shift(); id !== undefined && !done.signal.aborted; id = queue.shift()) {
        const cosignature = await this.#askOne(id, checkpoint, ends - clock.monotonic());
        if (cosignature && !done.signal.aborted) signed.push(cosignature);
        if (signed.length >= WANTED_WITNESSES) done.abort();
      }
    };
    const asked = Promise.all(Array.from({ length: PARALLEL }, worker)).then(() => done.abort());
    await clock.sleep(waitMs, AbortSignal.any([done.signal, signal]));
    done.abort();
    void asked;
    return [...signed];
  }

  async #askOne(id: string, checkpoint: Checkpoint, leftMs: number): Promise<Cosignature | undefined> {
    const { log, trust } = this.#deps;
    try {
      let known = this.#lastSizes.get(id) ?? 0;
      for (let tries = 0; tries < 3 && leftMs > 0; tries++) {
        const { cosignature, lastSize } = await this.#command(id, checkpoint, known, leftMs);
        this.#lastSizes.set(id, lastSize);
        if (!cosignature) {
          known = lastSize;
          continue;
        }
        const fault =
          cosignature.witness === id ? faultOfCosignature(checkpoint, cosignature, trust) : "it is another's";
        if (!fault) return cosignature;
        log.warn({ node: id, fault }, "audit: a cosignature does not count");
        return undefined;
      }
    } catch (error) {
      const refusal = toDvError(error);
      log.warn({ node: id, code: refusal.code, error: refusal.message }, "audit: a node did not cosign");
      if (refusal.code === "WITNESS_REFUSED") await this.#noteRefusal(id, checkpoint, refusal);
    }
    return undefined;
  }

  /** A witness that has signed more than this instance has read is ahead of it, unless the stream has no more either. */
  async #noteRefusal(id: string, { size, root }: Checkpoint, { details, message }: DvError): Promise<void> {
    const { alarms, trail } = this.#deps;
    const lastSize = Number(details?.["lastSize"] ?? 0);
    const stored = await trail.journal.range().catch(() => undefined);
    if (lastSize > size && (!stored || stored.lastSeq >= lastSize)) return;
    const detail = `${id} refused to cosign ${size} records: ${message}`;
    alarms.raise({ key: `witness ${id} ${size} ${root}`, cause: "witness", seq: null, detail });
  }

  #command(id: string, checkpoint: Checkpoint, known: number, timeoutMs: number) {
    const { bus, trail } = this.#deps;
    const hasProof = known > 0 && known <= checkpoint.size;
    const since = hasProof ? { size: known, path: trail.tree.consistencyProof(known, checkpoint.size) } : null;
    const order = {
      operation: "audit-seal",
      step: `size-${checkpoint.size}`,
      direction: "do",
      epoch: 0,
      resource: null,
      fence: null,
    } as const;
    return bus.command(id, auditContract, "cosignCheckpoint", { checkpoint, since }, order, {
      timeoutMs: Math.max(1, timeoutMs),
      actor: "system",
    });
  }
}
