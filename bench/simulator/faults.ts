// SPDX-License-Identifier: Apache-2.0
/** Ways in which simulated agents misbehave, and what an exact census must say of each. Pure. */
import type { TargetStatus } from "@debvisor/proto-events/replies";

/**
 * How an agent behaves. `dead` has no connection, `slow` answers late, `silent` takes requests and never answers, `duplicate`
 * answers twice, `malformed` answers with bytes that are no reply, `failing` and `refusing` answer with an error.
 */
export type Behaviour = "good" | "dead" | "slow" | "silent" | "duplicate" | "malformed" | "failing" | "refusing";

/** Fractions (0 to 1) of a fleet that misbehave; the rest is good. */
export type FaultFractions = Partial<Readonly<Record<Exclude<Behaviour, "good">, number>>>;

/**
 * Behaviour of each agent. A fraction becomes a whole number of agents, rounded, and they are spread over the fleet so that
 * every process has some. The same arguments give the same result. @throws RangeError when the fractions exceed 1
 */
export function assignBehaviours(agents: number, fractions: FaultFractions): Behaviour[] {
  const wanted = (Object.entries(fractions) as [Behaviour, number][]).map(
    ([behaviour, fraction]) => [behaviour, Math.round(fraction * agents)] as const,
  );
  const faulty = wanted.reduce((sum, [, count]) => sum + count, 0);
  if (faulty > agents || wanted.some(([, count]) => count < 0))
    throw new RangeError("the fractions must add up to at most 1");
  const faults = wanted.flatMap(([behaviour, count]) => Array.from({ length: count }, () => behaviour));
  const behaviours = Array.from({ length: agents }, (): Behaviour => "good");
  const places = behaviours.map((_, i) => i).sort((a, b) => spread(a) - spread(b) || a - b);
  for (const [i, behaviour] of faults.entries()) behaviours[places[i] ?? 0] = behaviour;
  return behaviours;
}

/** What the census must say of an agent. */
export function expectedStatus(behaviour: Behaviour, timing: { slowMs: number; timeoutMs: number }): TargetStatus {
  switch (behaviour) {
    case "good":
    case "duplicate":
      return "ok";
    case "dead":
      return "unreachable";
    case "silent":
      return "timed-out";
    case "slow":
      return timing.slowMs < timing.timeoutMs ? "ok" : "timed-out";
    case "malformed":
    case "failing":
      return "failed";
    case "refusing":
      return "refused";
  }
}

/** The counts that an exact census of the fleet has. */
export function expectedCensus(
  behaviours: readonly Behaviour[],
  timing: { slowMs: number; timeoutMs: number },
): Record<"total" | "ok" | "failed" | "refused" | "unreachable" | "timedOut" | "skipped", number> {
  const count = (status: TargetStatus) =>
    behaviours.filter((behaviour) => expectedStatus(behaviour, timing) === status).length;
  return {
    total: behaviours.length,
    ok: count("ok"),
    failed: count("failed"),
    refused: count("refused"),
    unreachable: count("unreachable"),
    timedOut: count("timed-out"),
    skipped: 0,
  };
}

/** A fixed shuffle: multiplication by Knuth's constant modulo 2^32. */
function spread(i: number): number {
  return Math.imul(i + 1, 2_654_435_761) >>> 0;
}
