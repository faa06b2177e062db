// SPDX-License-Identifier: Apache-2.0
/** The first machine of a cluster that somebody forms by hand: founds alone, and takes the others in by one-time codes. */
import { randomBytes } from "node:crypto";
import { DvError } from "@debvisor/shared/errors";
import type { MachinePorts } from "@debvisor/shared/join/preseed";
import { hasFormed } from "@debvisor/shared/nats-server/member";
import { type Membership, nodePaths, readMembership } from "@debvisor/shared/node-files";
import { type Machine, openMachine } from "./machine.ts";
import { found } from "./take-up.ts";

/** What the first machine needs to be told. */
export interface SingleOptions {
  readonly dir: string;
  readonly cluster: string;
  /** How many servers the cluster may grow to. */
  readonly servers: 1 | 3 | 5;
  readonly name: string | undefined;
  readonly listen: string | undefined;
  readonly ports: MachinePorts;
}

/** @throws CONFLICT for a machine that belongs to a cluster, DATA_FOLDER_CORRUPT for one that holds the data of one */
export function refuseTaken(dir: string): void {
  const membership = readMembership(dir);
  if (membership)
    throw new DvError("CONFLICT", `This machine belongs to cluster ${membership.cluster} already.`, {
      details: {
        hint: "`dvctl nodes reset --confirm ID` makes it leave; its part of the cluster's data is deleted then.",
      },
    });
  const { nats, membership: file } = nodePaths(dir);
  if (hasFormed(nats))
    throw new DvError("DATA_FOLDER_CORRUPT", `${nats} holds the data of a cluster, but ${file} is missing.`);
}

/** Founds. A crash before its end leaves a machine that belongs to nothing. @throws CONFLICT, DATA_FOLDER_CORRUPT, UNAVAILABLE */
export async function foundSingle(options: SingleOptions): Promise<{ machine: Machine; membership: Membership }> {
  const { dir, cluster, servers, ...wanted } = options;
  refuseTaken(dir);
  const machine = openMachine(dir, { ...wanted, role: "server" });
  const formation = randomBytes(16).toString("hex");
  return { machine, membership: await found(machine, { cluster, formation, servers }) };
}
