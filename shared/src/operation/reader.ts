// SPDX-License-Identifier: Apache-2.0
/**
 * What planning and inspecting see of the cluster. It can only read: an operation with another effect is refused here, before
 * anything is sent, so that a dry run cannot write whatever its author does (GOALS.md B2).
 */
import type { Bus, CallOptions } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Reader, TargetNode } from "./definition.ts";

/** The registry as the engine knows it. */
export interface Directory {
  list(): readonly TargetNode[];
  /** Waits until everything that is stored by now is in the list: "all" must not mean all but the latest. @throws UNAVAILABLE */
  settle?(): Promise<void>;
}

export interface ReaderDeps {
  readonly bus: Pick<Bus, "request">;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Makes a reader; `about` says on whose behalf it asks. */
export function createReader(
  { bus, directory, clock, log }: ReaderDeps,
  signal: AbortSignal,
  about: Pick<CallOptions, "requestId" | "actor">,
): Reader {
  return {
    clock,
    log,
    signal,
    request: async (target, contract, operation, input, options = {}) => {
      if (contract.operations[operation]?.effect !== "read")
        throw new DvError("INTERNAL", `${contract.service}.${operation} is no read; planning may only read.`);
      signal.throwIfAborted();
      return await bus.request(target, contract, operation, input, { ...about, ...options });
    },
    nodes: () => directory.list(),
    node: (ref) => findNode(directory, ref),
  };
}

/** A node by id or name. @throws NODE_NOT_FOUND */
export function findNode(directory: Directory, ref: string): TargetNode {
  const found = directory.list().find(({ id, name }) => id === ref || name === ref);
  if (!found) throw new DvError("NODE_NOT_FOUND", `No node is called ${ref}.`);
  return found;
}
