// SPDX-License-Identifier: Apache-2.0
/** The durable operation that restarts a service of a node: proven by a new invocation that runs. */
import { hostContract, type Unit } from "@debvisor/proto-events/host";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, StepKind } from "@debvisor/shared/operation/definition";
import { survey, targetOf } from "@debvisor/shared/operation/survey";

interface RestartInput {
  readonly node: string;
  readonly unit: string;
}

interface RestartParams {
  readonly unit: string;
  /** Invocation when the plan was made. */
  readonly invocation: string | null;
}

const ASK_MS = 5_000;
/** A node gives a unit 20 s to come up, and may be restarted itself meanwhile. */
const STEP_MS = 30_000;

/** `host.restart-service`. */
export function restartServiceDefinition(): Definition<RestartInput> {
  return {
    type: "host.restart-service",
    spec: hostContract.operations.restartService,
    deadlineMs: 10 * 60_000,
    mask: (input) => ({ ...input }),
    plan: async ({ node: ref, unit }, reader) => {
      const node = reader.node(ref);
      if (node.state === "disabled") throw disabled(node.name);
      const asked = await survey([node], ({ id }) =>
        reader.request(id, hostContract, "getUnit", { unit }, { timeoutMs: ASK_MS }),
      );
      const [finding] = asked.findings;
      const seen = finding?.seen;
      const resource = `node/${node.id}/service/${seen?.name ?? unit}`;
      return {
        targets: [targetOf(node, "change")],
        steps: [
          {
            id: "restart",
            kind: "restart",
            title: `restart ${seen?.name ?? unit}`,
            target: node.id,
            params: { unit: seen?.name ?? unit, invocation: seen?.invocation ?? null } satisfies RestartParams,
            resource,
          },
        ],
        effects: [
          {
            target: node.name,
            what: `service ${seen?.name ?? unit}`,
            before: seen ? describe(seen) : null,
            after: "running, started anew",
            diff: null,
          },
        ],
        checks: asked.checks,
        resources: [resource],
        undo: "A restart cannot be undone.",
        basis: { node: node.id, unit: seen ?? null },
      };
    },
    steps: { restart: restartStep },
    result: (answers) => answers["restart"] ?? null,
  };
}

function disabled(name: string): DvError {
  return new DvError("CHECK_FAILED", `${name} is disabled.`, { details: { hint: `dvctl nodes enable ${name}` } });
}

function describe({ state, startedAt }: Unit): string {
  return startedAt === null ? state : `${state} since ${startedAt}`;
}

const restartStep: StepKind<RestartParams> = {
  timeoutMs: STEP_MS,
  do: ({ unit }, context) => context.command(hostContract, "restartUnit", { unit }),
  undo: "never",
  inspect: async ({ unit, invocation }, context) => {
    const seen = await context.request(
      context.target?.id ?? "",
      hostContract,
      "getUnit",
      { unit },
      { timeoutMs: ASK_MS },
    );
    if (seen.invocation !== null && seen.invocation !== invocation)
      return seen.state === "running" ? "after" : "unclear";
    return "before";
  },
};
