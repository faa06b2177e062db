// SPDX-License-Identifier: Apache-2.0
/** Three machines that are to form one cluster, and how that is seen. */
import { expect } from "vitest";
import { type Formation, type FormationOptions, startFormation } from "./formation.ts";

const PATIENCE_MS = 50_000;
/** Hosts of the servers. */
export const SERVERS = [0, 1, 2];
const NAMES = ["m1", "m2", "m3"];

/** The end of every story here: one formation, three members, and a write acknowledged on each. */
export async function expectOneCluster(formation: Formation): Promise<void> {
  await formation.untilWritable(formation.machines, PATIENCE_MS);
  for (const machine of formation.machines) {
    await formation.untilMembers(machine, NAMES);
    expect(await formation.key.write(machine)).toMatch(/^[a-z0-9]+$/);
  }
  expect(formation.formations()).toHaveLength(1);
}

/** Three servers that are turned on at once. */
export async function form(options: Omit<FormationOptions, "hosts">): Promise<Formation> {
  const formation = await startFormation({ hosts: 3, ...options });
  try {
    await formation.addAll(...SERVERS);
    return formation;
  } catch (error) {
    await formation[Symbol.asyncDispose]();
    throw error;
  }
}
