// SPDX-License-Identifier: Apache-2.0
/** Operation `checkHealth`: runs groups of checks at the same time, bounded in time, and makes the verdict. */
import { type Health, type HealthCheck, HealthGroup, type nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { Input, RequestContext } from "@debvisor/shared/bus/bus";
import { timestamp } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import { findingsOf } from "../model/findings.ts";
import { countChecks, scoreOf, verdictOf } from "../model/verdict.ts";
import type { HealthDeps } from "./health-deps.ts";
import { HEALTH_GROUPS } from "./health-groups.ts";

const QUICK: readonly HealthGroup[] = ["binaries", "services"];

/** Which groups to run; `only` wins over `quick`. */
export type HealthRequest = Input<typeof nodeAgentContract, "checkHealth">;

/** The operation's handler. */
export function checkHealthHandler(
  deps: HealthDeps,
): (input: HealthRequest, ctx: Pick<RequestContext, "signal">) => Promise<Health> {
  return (input, { signal }) => runHealthCheck(deps, input, signal);
}

/** Runs the groups asked for. A group that is not done by the deadline, or breaks, is one failed check; never rejects. */
export async function runHealthCheck(deps: HealthDeps, request: HealthRequest, signal: AbortSignal): Promise<Health> {
  const { clock, config } = deps;
  const startedAt = clock.monotonic();
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(config.healthTimeoutMs)]);
  const groups = groupsOf(request);
  const checks = (await Promise.all(groups.map((group) => runGroup(deps, group, deadline)))).flat();
  return {
    verdict: verdictOf(checks),
    score: scoreOf(checks),
    checkedAt: timestamp(clock),
    ms: Math.round(clock.monotonic() - startedAt),
    counts: countChecks(checks),
    checks,
  };
}

/** The groups of a request in the order of the report, each once. */
export function groupsOf(request: HealthRequest): HealthGroup[] {
  const wanted: readonly HealthGroup[] = request.only ?? (request.quick ? QUICK : HealthGroup.options);
  return HealthGroup.options.filter((group) => wanted.includes(group));
}

async function runGroup(deps: HealthDeps, group: HealthGroup, deadline: AbortSignal): Promise<HealthCheck[]> {
  const { failed } = findingsOf(group);
  const late = failed(
    "deadline",
    "The checks of this group were not done in time.",
    "Something on this host hangs; look at dmesg and top.",
  );
  if (deadline.aborted) return [late];
  return await new Promise((resolve) => {
    const onDeadline = () => resolve([late]);
    deadline.addEventListener("abort", onDeadline, { once: true });
    HEALTH_GROUPS[group](deps, deadline)
      .catch((error: unknown) => [
        failed("broken", `The checks of this group broke: ${causeChain(error)}`, "Report this as a bug of DebVisor."),
      ])
      .then(resolve)
      .finally(() => deadline.removeEventListener("abort", onDeadline));
  });
}
