// SPDX-License-Identifier: Apache-2.0
/** One verdict and one score over all nodes and the components of the cluster. Pure. */
import { Health } from "@debvisor/proto-events/node-agent";
import type { Outcome } from "./fan-out.ts";

/** Verdicts from best to worst. */
const ORDER = ["healthy", "degraded", "unhealthy", "critical"] as const;
type Verdict = (typeof ORDER)[number];

/** The verdict of the whole. */
export interface Judgement {
  readonly verdict: Verdict;
  /** 0 to 100: the mean over the nodes; one that did not answer counts 0. */
  readonly score: number;
  readonly checkedAt: string;
  /** Everything that is not healthy, worst first. */
  readonly reasons: readonly string[];
}

/** What of the cluster's status counts. */
export interface ClusterState {
  readonly state: string;
  readonly components: readonly { readonly component: string; readonly state: string; readonly detail: string }[];
}

interface Finding {
  readonly verdict: Verdict;
  readonly reason: string;
}

/**
 * Judges the whole. A node that does not answer makes it unhealthy; a disabled one is left out. `cluster` is null where
 * there is none to look at, and undefined where its state could not be read.
 */
export function judge(
  outcome: Outcome,
  cluster: ClusterState | undefined | null,
  now: () => Date = () => new Date(),
): Judgement {
  const asked = outcome.results.filter(({ status }) => status !== "skipped");
  const nodes = asked.map(judgeNode);
  const findings = [...nodes, ...judgeCluster(cluster)].filter(({ verdict }) => verdict !== "healthy");
  findings.sort((a, b) => ORDER.indexOf(b.verdict) - ORDER.indexOf(a.verdict));
  const scores = nodes.map(({ score }) => score);
  return {
    verdict: findings[0]?.verdict ?? "healthy",
    score: scores.length === 0 ? 0 : Math.round(scores.reduce((sum, score) => sum + score, 0) / scores.length),
    checkedAt: now().toISOString(),
    reasons: findings.map(({ reason }) => reason),
  };
}

function judgeNode({ name, status, data, error }: Outcome["results"][number]): Finding & { readonly score: number } {
  if (status !== "ok")
    return { verdict: "unhealthy", score: 0, reason: `${name} is ${status}${error ? ` (${error.message})` : ""}` };
  const health = Health.safeParse(data);
  if (!health.success) return { verdict: "unhealthy", score: 0, reason: `${name} sent an answer that cannot be read` };
  const { verdict, score, checks } = health.data;
  const wrong = checks.filter((check) => check.status === "failed" || check.status === "warned").map(({ id }) => id);
  return { verdict, score, reason: `${name} is ${verdict}${wrong.length > 0 ? ` (${wrong.join(", ")})` : ""}` };
}

function judgeCluster(cluster: ClusterState | undefined | null): readonly Finding[] {
  if (cluster === null) return [];
  if (!cluster) return [{ verdict: "unhealthy", reason: "the state of the cluster cannot be read" }];
  return cluster.components.flatMap(({ component, state, detail }) => {
    if (state === "ok") return [];
    return [
      {
        verdict: state === "failed" ? ("unhealthy" as const) : ("degraded" as const),
        reason: `${component} is ${state}: ${detail}`,
      },
    ];
  });
}
