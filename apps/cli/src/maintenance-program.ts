// SPDX-License-Identifier: Apache-2.0
/** `debvisor-maintenance enable|disable|status` (REQUIREMENTS MNT-01): maintenance of this node, another one, or all. */
import { maintenanceContract } from "@debvisor/proto-events/maintenance";
import { NodeRef, OperationId } from "@debvisor/proto-events/primitives";
import { NodeFile, nodePaths, readJsonFileIfPresent } from "@debvisor/shared/node-files";
import { renderTable, valueAt } from "@debvisor/shared/table";
import { z } from "zod";
import { usage } from "./argv.ts";
import { type Call, type CommandSpec, EXIT, type Program } from "./command.ts";
import { durableCommand } from "./durable-command.ts";
import { privilegeOf } from "./from-contract.ts";
import { getOperation, type Seen } from "./operation-follow.ts";
import { newestOf } from "./operation-latest.ts";
import { drawOperation, headline } from "./operation-text.ts";

const { service, operations } = maintenanceContract;
const { enableMaintenance, disableMaintenance, getMaintenance } = operations;

const NODE_DIR = "/var/lib/debvisor";
const LIMIT_MS = getMaintenance.timeoutMs + 3_000;
const KINDS = [`${service}.enable-maintenance`, `${service}.disable-maintenance`];

const node = NodeRef.optional().describe("Node id or name; default: this node.");

/** The program `debvisor-maintenance`. */
export function maintenanceProgram(): Program {
  return {
    name: "debvisor-maintenance",
    summary: "keeps others from changing a node, or the cluster, while somebody works on it.",
    commands: [
      mode("enable", enableMaintenance, {
        examples: [
          {
            command: 'debvisor-maintenance enable --reason "disk swap" --until 2h',
            does: "Keep others off this node.",
          },
          { command: "debvisor-maintenance enable --node node-2", does: "Keep others off another node." },
          { command: "debvisor-maintenance enable --cluster", does: "Refuse every new change by anybody else." },
        ],
        undo: "debvisor-maintenance disable, or debvisor-maintenance enable --rollback",
      }),
      mode("disable", disableMaintenance, {
        examples: [
          { command: "debvisor-maintenance disable", does: "Let changes of this node through again." },
          { command: "debvisor-maintenance disable --cluster", does: "Let all changes through again." },
        ],
        undo: "debvisor-maintenance disable --rollback, or debvisor-maintenance enable",
      }),
      status,
    ],
  };
}

function mode(
  noun: "enable" | "disable",
  spec: typeof enableMaintenance | typeof disableMaintenance,
  help: Pick<CommandSpec["help"], "examples" | "undo">,
): CommandSpec {
  return durableCommand(
    { service, wire: `${noun}-maintenance`, spec },
    {
      words: { noun, args: [] },
      fields: { node },
      help: { ...spec.cli, scenarios: [], ...help },
      prepare: (given, call) => ({ fields: withTarget(given, call) }),
    },
  );
}

function withTarget(given: Readonly<Record<string, unknown>>, call: Call): Readonly<Record<string, unknown>> {
  if (given["cluster"] === true && given["node"] !== undefined) throw usage("--node and --cluster exclude each other");
  return given["cluster"] === true ? given : { ...given, node: given["node"] ?? thisNode(call) };
}

/* In the local cluster a node's folder is not the machine's: DV_NODE_DIR names it. */
function thisNode({ env }: Pick<Call, "env">): string {
  const { node: file } = nodePaths(env["DV_NODE_DIR"] || NODE_DIR);
  const found = readJsonFileIfPresent(file, NodeFile);
  if (found === undefined) throw usage(`this machine is no node (${file} is missing): give --node NAME or --cluster`);
  return found.id;
}

const status: CommandSpec = {
  noun: "status",
  summary: "Show what is in maintenance, and the last thing that you did with this command.",
  input: z.strictObject({
    operation: OperationId.optional().describe("Show this operation instead."),
    node: NodeRef.optional().describe("Only this node, and the cluster."),
  }),
  args: ["operation"],
  effect: "read",
  privilege: privilegeOf(getMaintenance),
  errors: [...getMaintenance.errors, "OPERATION_NOT_FOUND"],
  help: {
    examples: [
      { command: "debvisor-maintenance status", does: "Show everything that is in maintenance." },
      { command: "debvisor-maintenance status --node node-2", does: "Show whether node-2 is." },
      { command: "debvisor-maintenance status op-k3x7w2mqabcde", does: "Show how an operation of this command went." },
    ],
  },
  run: async (call) => {
    const { operation, node: only } = call.given;
    const client = call.client();
    if (typeof operation === "string") return showOperation(await getOperation(operation, client), call);
    const query = { node: only };
    const reply = await client.request({
      method: "GET",
      path: getMaintenance.http?.path ?? "",
      query,
      timeoutMs: LIMIT_MS,
    });
    const { output } = call;
    const style = { color: output.color, nowMs: Date.now() };
    const items = valueAt(reply.body, "items");
    const rows = Array.isArray(items) ? items : [];
    const draw = () =>
      rows.length === 0 ? "nothing is in maintenance" : renderTable(getMaintenance.cli?.columns ?? [], rows, style);
    output.result(reply.body, draw, reply.text);
    const last = await newestOf(KINDS, call);
    if (last === undefined) return EXIT.ok;
    const { operation: own } = await getOperation(last.id, client);
    output.info(`last: ${headline(own, { color: false, nowMs: Date.now() })}${own.undoable ? ", can be undone" : ""}`);
    return EXIT.ok;
  },
};

function showOperation({ operation, reply }: Seen, { output }: Call): number {
  output.result(reply.body, () => drawOperation(operation, { color: output.color, nowMs: Date.now() }), reply.text);
  return EXIT.ok;
}
