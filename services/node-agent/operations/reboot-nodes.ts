// SPDX-License-Identifier: Apache-2.0
/** The durable operation that restarts nodes, one after the other: proven by a new boot id whose services run. */
import type { Check } from "@debvisor/proto-events/durable";
import { hostContract } from "@debvisor/proto-events/host";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { Definition, Reader, StepContext, StepKind, TargetNode } from "@debvisor/shared/operation/definition";
import { selectTargets } from "@debvisor/shared/operation/node-directory";
import { durationMs } from "@debvisor/shared/operation/options";
import { survey, targetOf } from "@debvisor/shared/operation/survey";

interface RebootInput {
  readonly nodes: string;
  readonly back: string;
}

interface RebootParams {
  readonly bootId: string;
  readonly backMs: number;
}

const ASK_MS = 3_000;
const ORDER_MS = 5_000;
const LOOK_MS = 250;

/** `host.reboot-nodes`. `bus` publishes that a node is back. */
export function rebootNodesDefinition(bus: Pick<Bus, "publishEvent">): Definition<RebootInput> {
  return {
    type: "host.reboot-nodes",
    spec: hostContract.operations.rebootNodes,
    deadlineMs: 4 * 3_600_000,
    mostAtOnce: 1,
    mask: (input) => ({ ...input }),
    plan: async ({ nodes: selection, back }, reader) => {
      const backMs = durationMs("back", back);
      const nodes = selectTargets(selection, reader.nodes());
      const asked = await survey(nodes, ({ id }) =>
        reader.request(id, hostContract, "getBoot", {}, { timeoutMs: ASK_MS }),
      );
      const resource = ({ id }: TargetNode) => `node/${id}/power`;
      return {
        targets: [...asked.findings.map(({ node }) => targetOf(node, "change")), ...asked.others],
        steps: asked.findings.map(({ node, seen }) => ({
          id: `reboot-${node.id}`,
          kind: "reboot",
          title: `restart ${node.name} and wait until it is back`,
          target: node.id,
          params: { bootId: seen.bootId, backMs } satisfies RebootParams,
          resource: resource(node),
        })),
        effects: asked.findings.map(({ node, seen }) => ({
          target: node.name,
          what: "host",
          before: `up since ${seen.startedAt}`,
          after: "started anew",
          diff: null,
        })),
        checks: [
          ...asked.checks,
          ...asked.findings.map(({ node, seen }) => rebootable(node, seen.rebootable)),
          ...asked.findings.map(({ node }) => majority(node, reader)),
        ],
        resources: asked.findings.map(({ node }) => resource(node)),
        undo: "A restart cannot be undone.",
        basis: { back, boots: asked.findings.map(({ node, seen }) => [node.id, seen.bootId]) },
      };
    },
    steps: { reboot: rebootStep(bus) },
  };
}

function rebootable({ name }: TargetNode, can: boolean): Check {
  const id = "target.rebootable";
  return can
    ? { id, target: name, status: "passed", message: "can be restarted from here", hint: null }
    : {
        id,
        target: name,
        status: "failed",
        message: "cannot be restarted from here",
        hint: "restart it at its console",
      };
}

/** Without a majority of the servers no write is acknowledged until the node is back. */
function majority(node: TargetNode, reader: Reader): Check {
  const id = "servers.majority";
  const servers = reader.nodes().filter(({ roles }) => roles.includes("server"));
  const stays = servers.filter((server) => server.id !== node.id && server.state === "alive").length;
  const needed = Math.floor(servers.length / 2) + 1;
  const base = { id, target: node.name };
  if (!node.roles.includes("server") || stays >= needed)
    return { ...base, status: "passed", message: "a majority of the servers stays up", hint: null };
  if (servers.length === 1)
    return {
      ...base,
      status: "warned",
      message: "it is the only server: nothing answers meanwhile",
      hint: "add servers",
    };
  return {
    ...base,
    status: "failed",
    message: `only ${stays} of ${servers.length} servers would stay up, ${needed} are needed`,
    hint: "bring the other servers up first: dvctl nodes list --filter role=server",
  };
}

function rebootStep(bus: Pick<Bus, "publishEvent">): StepKind<RebootParams> {
  return {
    timeoutMs: ({ backMs }) => backMs + ORDER_MS,
    patienceMs: 60_000,
    do: async ({ backMs }, context) => {
      const { clock } = context;
      const startedAt = clock.monotonic();
      const answer = await untilBack(context, backMs, () =>
        context.command(hostContract, "rebootHost", {}, { timeoutMs: ORDER_MS }),
      );
      await untilBack(context, backMs - (clock.monotonic() - startedAt), () =>
        requireReady(context, answer.bootIdBefore),
      );
      const downMs = Math.round(clock.monotonic() - startedAt);
      const { id = "", name = "" } = context.target ?? {};
      await bus.publishEvent(hostContract, "node.rebooted", { node: id, name, downMs }, { subject: id });
      return { ...answer, downMs };
    },
    undo: "never",
    inspect: async ({ bootId }, context) => {
      const boot = await context.request(context.target?.id ?? "", hostContract, "getBoot", {}, { timeoutMs: ASK_MS });
      if (boot.bootId === bootId) return "before";
      return boot.units.every(({ state }) => state === "running") ? "after" : "unclear";
    },
  };
}

async function requireReady(context: StepContext, before: string): Promise<void> {
  const boot = await context.request(context.target?.id ?? "", hostContract, "getBoot", {}, { timeoutMs: ASK_MS });
  const waits = boot.units.filter(({ state }) => state !== "running").map(({ name }) => name);
  if (boot.bootId === before) throw new DvError("UNAVAILABLE", "It has not gone down yet.");
  if (waits.length > 0) throw new DvError("UNAVAILABLE", `Services that do not run yet: ${waits.join(", ")}.`);
}

/** Repeats what fails because the node is away. @throws NODE_NOT_RETURNED */
async function untilBack<T>({ clock, signal }: StepContext, ms: number, action: () => Promise<T>): Promise<T> {
  const deadline = clock.monotonic() + ms;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await action();
    } catch (thrown) {
      const error = toDvError(thrown);
      if (error.kind !== "unavailable" && error.kind !== "timeout") throw thrown;
      if (clock.monotonic() > deadline)
        throw new DvError("NODE_NOT_RETURNED", `Not back within ${Math.round(ms / 1_000)} s: ${error.message}`, {
          cause: thrown,
        });
      await clock.sleep(LOOK_MS, signal);
    }
  }
}
