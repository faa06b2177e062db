// SPDX-License-Identifier: Apache-2.0
/** Ids and names of simulated agents. */
import type { AgentIdentity } from "./replies.ts";

/** Id and name of the agent with a number: the id is the number in base32, behind letters that say it is simulated. */
export function identityOf(index: number): AgentIdentity {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  let tail = "";
  for (let i = 0, rest = index; i < 6; i++, rest = Math.floor(rest / 32)) tail = `${alphabet[rest % 32]}${tail}`;
  return { id: `simulateda${tail}`, name: `sim-${index + 1}` };
}
