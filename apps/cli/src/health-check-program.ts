// SPDX-License-Identifier: Apache-2.0
/**
 * `debvisor-health-check` (REQUIREMENTS HC-01, HC-08): every node's checks and the state of the whole, as one verdict, one
 * score and one exit code. Where there is no cluster, or with `--local`, the checks of this machine alone.
 */
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { NodeRef, NodeRole } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import { renderTable } from "@debvisor/shared/table";
import { z } from "zod";
import { usage } from "./argv.ts";
import type { ApiReply } from "./client.ts";
import { type Call, type CommandSpec, EXIT, type Program } from "./command.ts";
import { censusText, drawFanOut, fanOutExitCode, type Outcome, readFanOut } from "./fan-out.ts";
import { type Judgement, judge } from "./health-verdict.ts";

const { checkHealth } = nodeAgentContract.operations;
const { getStatus } = gatewayContract.operations;
const { only, quick } = checkHealth.input.shape;
type Status = z.output<typeof getStatus.output>;

const SLACK_MS = 3_000;

const Input = z.strictObject({
  quick,
  only,
  node: NodeRef.optional().describe("Only this node (id or name); default: all."),
  local: z
    .boolean()
    .default(false)
    .describe("Check this machine alone, without the cluster; the default where no context exists."),
  role: NodeRole.optional().describe(
    "Role that this machine is checked for, without a cluster; default: what it was set up as, else server.",
  ),
  strict: z.boolean().default(false).describe("Exit code 6 also when the verdict is degraded."),
});

const healthCheck: CommandSpec = {
  noun: "",
  summary: "Check every node and the cluster, or this machine where there is no cluster; one verdict, one exit code.",
  input: Input,
  args: [],
  effect: "read",
  privilege: `A token with the permissions ${checkHealth.permission} and ${getStatus.permission}; the role viewer includes them. Without a cluster none; what this user may not see is skipped, so run it as root for all of it.`,
  errors: ["NODE_NOT_FOUND", "NO_TARGETS", "BUS_UNAVAILABLE"],
  help: {
    examples: [
      { command: "debvisor-health-check", does: "Check every node, or this machine where there is no cluster." },
      { command: "debvisor-health-check --quick", does: "Binaries and services only." },
      {
        command: "debvisor-health-check --node node-2 --only permissions,configuration",
        does: "Two groups on one node.",
      },
      { command: "debvisor-health-check --local --role worker", does: "Could this machine be a worker?" },
    ],
    scenarios: [
      {
        command: "debvisor-health-check --strict --quiet || echo attention",
        does: "Be told of anything that is not healthy.",
      },
      { command: "debvisor-health-check --verbose", does: "See the checks that passed as well." },
      {
        command: "debvisor-health-check --only connectivity,permissions,services,configuration",
        does: "The four groups of the troubleshooting guide.",
      },
    ],
  },
  run: async (call) => (isLocal(call) ? await runLocally(call) : await runInCluster(call)),
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

/* Without a context this machine belongs to nothing, unless a cluster or a node was named. */
function isLocal({ input, settings, context, output }: Call): boolean {
  const { local, node, role } = Input.parse(input);
  if (local) {
    if (node !== undefined) throw usage("--local checks this machine, --node another one: give one of them");
    return true;
  }
  if (settings.context === undefined && settings.server === undefined && node === undefined) {
    try {
      context();
    } catch (error) {
      if (!(error instanceof DvError) || error.code !== "CONTEXT_MISSING") throw error;
      output.info("no context names a cluster: checking this machine alone");
      return true;
    }
  }
  if (role !== undefined) throw usage("--role is for the check of this machine: add --local");
  return false;
}

async function runLocally(call: Call): Promise<number> {
  const { checkThisMachine } = await import("./local-health.ts");
  const { role, strict, ...input } = Input.parse(call.input);
  const { outcome, roles } = await checkThisMachine({ role, quick: input.quick, only: input.only }, call);
  call.output.info(`this machine, checked as ${roles.join(" and ")}`);
  const judgement = judge(outcome, null);
  call.output.result({ ...judgement, nodes: outcome, cluster: null }, () => draw(judgement, outcome, undefined, call));
  return exitCodeOf(judgement, outcome, strict, call);
}

async function runInCluster(call: Call): Promise<number> {
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
  ]).catch((error: unknown) => {
    throw withHint(error);
  });
  const outcome = readFanOut(health);
  const cluster = readStatus(status);
  const judgement = judge(outcome, cluster);
  output.result({ ...judgement, nodes: health.body, cluster: status.body }, () =>
    draw(judgement, outcome, cluster, call),
  );
  output.info(censusText(outcome.census));
  return exitCodeOf(judgement, outcome, input["strict"] === true, call);
}

/* Who cannot reach the cluster can still look at this machine. */
function withHint(error: unknown): unknown {
  if (!(error instanceof DvError) || error.exitCode !== EXIT.unavailable) return error;
  const hint =
    "`dvctl ping` shows which gateways answer; debvisor-health-check --local checks this machine without them.";
  return new DvError(error.code, error.message, {
    kind: error.kind,
    details: { ...error.details, hint },
    cause: error,
  });
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
