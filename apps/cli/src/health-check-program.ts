// SPDX-License-Identifier: Apache-2.0
/**
 * `debvisor-health-check` (REQUIREMENTS HC-01, HC-08): every node's checks and the state of the whole, as one verdict, one
 * score and one exit code.
 */
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { NodeRef } from "@debvisor/proto-events/primitives";
import { renderTable } from "@debvisor/shared/table";
import type { z } from "zod";
import { z as zod } from "zod";
import { type ApiReply, urlOf } from "./client.ts";
import { type Call, type CommandSpec, EXIT, type Program } from "./command.ts";
import { censusText, drawFanOut, fanOutExitCode, type Outcome, readFanOut } from "./fan-out.ts";
import { type Judgement, judge } from "./health-verdict.ts";

const { checkHealth } = nodeAgentContract.operations;
const { getStatus } = gatewayContract.operations;
const { only, quick } = checkHealth.input.shape;
type Status = z.output<typeof getStatus.output>;

const SLACK_MS = 3_000;

const Input = zod.strictObject({
  quick,
  only,
  node: NodeRef.optional().describe("Only this node (id or name); default: all."),
  strict: zod.boolean().default(false).describe("Exit code 6 also when the verdict is degraded."),
});

const healthCheck: CommandSpec = {
  noun: "",
  summary: "Check every node and the cluster; one verdict, one exit code.",
  input: Input,
  args: [],
  effect: "read",
  privilege: `A token with the permissions ${checkHealth.permission} and ${getStatus.permission}; the role viewer includes them.`,
  errors: ["NODE_NOT_FOUND", "NO_TARGETS", "BUS_UNAVAILABLE"],
  help: {
    examples: [
      { command: "debvisor-health-check", does: "Check every node." },
      { command: "debvisor-health-check --quick", does: "Binaries and services only." },
      {
        command: "debvisor-health-check --node node-2 --only permissions,configuration",
        does: "Two groups on one node.",
      },
    ],
    scenarios: [
      {
        command: "debvisor-health-check --strict --quiet || echo attention",
        does: "Be told of anything that is not healthy.",
      },
      { command: "debvisor-health-check --verbose", does: "See the checks that passed as well." },
    ],
  },
  run: runHealthCheck,
};

/** The program `debvisor-health-check`. */
export function healthCheckProgram(): Program {
  return {
    name: "debvisor-health-check",
    summary: "checks the health of every node and of the cluster.",
    single: true,
    commands: [healthCheck],
  };
}

async function runHealthCheck(call: Call): Promise<number> {
  const { given, input, output } = call;
  const client = call.client();
  const query = { nodes: given["node"] ?? "all", quick: given["quick"], only: given["only"] };
  const [health, status] = await Promise.all([
    client.request({
      method: "GET",
      path: checkHealth.http?.path ?? "",
      query,
      timeoutMs: checkHealth.timeoutMs + SLACK_MS,
    }),
    client.request({ method: "GET", path: getStatus.http?.path ?? "", timeoutMs: getStatus.timeoutMs + SLACK_MS }),
  ]);
  output.debug(`asked ${urlOf(health.server, { path: "/v1/health", query })}`);
  const outcome = readFanOut(health);
  const cluster = readStatus(status);
  const judgement = judge(outcome, cluster);
  output.result({ ...judgement, nodes: health.body, cluster: status.body }, () =>
    draw(judgement, outcome, cluster, call),
  );
  output.info(censusText(outcome.census));
  return exitCodeOf(judgement, outcome, input["strict"] === true, call);
}

function readStatus(reply: ApiReply): Status | undefined {
  const status = getStatus.output.safeParse(reply.body);
  return status.success ? status.data : undefined;
}

function draw(judgement: Judgement, outcome: Outcome, cluster: Status | undefined, { output }: Call): string {
  const style = { color: output.color, nowMs: Date.now() };
  const { cli } = checkHealth;
  const findings =
    cli?.findings && output.verbose ? { ...cli.findings, hide: { ...cli.findings.hide, in: [] } } : cli?.findings;
  const nodes = drawFanOut(
    outcome,
    { ...(cli?.columns ? { columns: cli.columns } : {}), ...(findings ? { findings } : {}) },
    style,
  );
  const components =
    cluster && getStatus.cli?.columns ? [renderTable(getStatus.cli.columns, cluster.components, style)] : [];
  return [...components, nodes, `Verdict: ${judgement.verdict}, score ${judgement.score} of 100`].join("\n\n");
}

function exitCodeOf({ verdict, reasons }: Judgement, outcome: Outcome, strict: boolean, { output }: Call): number {
  const reached = fanOutExitCode(outcome);
  if (reached === EXIT.unavailable || reached === EXIT.notFound) {
    output.error(reached === EXIT.notFound ? "no node was checked" : "no node answered");
    return reached;
  }
  if (verdict === "healthy") return EXIT.ok;
  const summary = `${verdict}: ${reasons.join("; ")}`;
  if (verdict === "degraded") output.warn(summary);
  else output.error(summary);
  return verdict === "degraded" && !strict ? EXIT.ok : EXIT.check;
}
