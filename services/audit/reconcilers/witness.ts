// SPDX-License-Identifier: Apache-2.0
/**
 * The witness on each node: cosigns a checkpoint of this cluster's sealers only when it continues the last one that it cosigned,
 * and remembers it on disk before it answers. What contradicts is refused, kept as evidence and published.
 */
import { join } from "node:path";
import { Checkpoint, type Cosignature } from "@debvisor/proto-events/audit";
import { writeFileAtomic } from "@debvisor/shared/atomic-file";
import { cosignCheckpoint, faultOfCheckpoint } from "@debvisor/shared/audit/checkpoint";
import { verifyConsistency } from "@debvisor/shared/audit/merkle";
import type { TrustChain } from "@debvisor/shared/audit/trust";
import type { Signer } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { readJsonFileIfPresent } from "@debvisor/shared/node-files";
import { z } from "zod";
import { GENERATION } from "../model/generation.ts";
import type { Alarms } from "./alarms.ts";

/** Contradicting checkpoints kept: signed by their sealers, they prove who told two stories. */
const MAX_EVIDENCE = 16;

const Memory = z.object({ last: Checkpoint.nullable(), refused: z.array(Checkpoint) });
type Memory = z.output<typeof Memory>;

/** Size from which the sealer proves, and the proof. */
export interface Since {
  readonly size: number;
  readonly path: readonly string[];
}

export interface WitnessDeps {
  readonly signer: Signer;
  readonly trust: TrustChain;
  readonly alarms: Alarms;
  readonly cluster: string;
  readonly stateDir: string;
  readonly clock: Clock;
}

export class Witness {
  readonly #deps: WitnessDeps;
  readonly #file: string;
  #memory: Memory;

  /** @throws DATA_FOLDER_CORRUPT: a witness that forgot what it signed would sign anything */
  constructor(deps: WitnessDeps) {
    this.#deps = deps;
    this.#file = join(deps.stateDir, "witness.json");
    this.#memory = readJsonFileIfPresent(this.#file, Memory) ?? { last: null, refused: [] };
  }

  /** Size of the last checkpoint that was cosigned; 0 before the first. */
  get lastSize(): number {
    return this.#memory.last?.size ?? 0;
  }

  /** Cosigns, or asks by `null` for the proof from `lastSize`. Runs to its end without a pause. @throws WITNESS_REFUSED */
  cosign(checkpoint: Checkpoint, since: Since | null): { cosignature: Cosignature | null; lastSize: number } {
    const { signer, clock } = this.#deps;
    this.#requireGenuine(checkpoint);
    const { last } = this.#memory;
    if (last && checkpoint.size < last.size) {
      throw refused(`it has ${checkpoint.size} records, and ${last.size} are cosigned already`, last.size);
    }
    if (last && checkpoint.size > last.size && since?.size !== last.size) {
      return { cosignature: null, lastSize: last.size };
    }
    if (last && !continues(last, checkpoint, since)) this.#refuse(last, checkpoint);
    if (!last || checkpoint.size > last.size) this.#remember({ ...this.#memory, last: checkpoint });
    return { cosignature: cosignCheckpoint(checkpoint, signer, timestamp(clock)), lastSize: checkpoint.size };
  }

  #requireGenuine(checkpoint: Checkpoint): void {
    const { cluster, trust } = this.#deps;
    if (checkpoint.cluster !== cluster) throw refused("it is another cluster's", this.lastSize);
    if (checkpoint.generation !== GENERATION)
      throw refused(`it is about generation ${checkpoint.generation}`, this.lastSize);
    const fault = faultOfCheckpoint(checkpoint, trust);
    if (fault) throw refused(fault, this.lastSize);
  }

  #refuse(last: Checkpoint, checkpoint: Checkpoint): never {
    const isKnown = this.#memory.refused.some(({ sig }) => sig === checkpoint.sig);
    const evidence = [...this.#memory.refused, checkpoint].slice(-MAX_EVIDENCE);
    if (!isKnown) this.#remember({ ...this.#memory, refused: evidence });
    const detail = `${checkpoint.sealer} sealed ${checkpoint.size} records that do not continue the ${last.size} cosigned by ${this.#deps.signer.user}`;
    const { size, root } = checkpoint;
    this.#deps.alarms.raise({ key: `fork ${last.root} ${size} ${root}`, cause: "witness", seq: null, detail });
    throw refused(`it does not continue the checkpoint of ${last.size} records`, last.size);
  }

  #remember(memory: Memory): void {
    writeFileAtomic(this.#file, JSON.stringify(memory), 0o600);
    this.#memory = memory;
  }
}

function continues(last: Checkpoint, checkpoint: Checkpoint, since: Since | null): boolean {
  if (checkpoint.size === last.size) return checkpoint.root === last.root;
  return verifyConsistency({
    first: last.size,
    second: checkpoint.size,
    firstRoot: last.root,
    secondRoot: checkpoint.root,
    path: since?.path ?? [],
  });
}

function refused(why: string, lastSize: number): DvError {
  return new DvError("WITNESS_REFUSED", `The checkpoint is not cosigned: ${why}.`, { details: { lastSize } });
}
