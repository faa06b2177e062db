// SPDX-License-Identifier: Apache-2.0
/** Commands made from the contracts: every operation with `http` and `cli` is one. */
import type { CliSpec, OperationSpec } from "@debvisor/proto-events/kit";
import { NodeSelection } from "@debvisor/proto-events/primitives";
import { allOperations, type RegisteredOperation } from "@debvisor/proto-events/registry";
import { renderRecord, renderTable, valueAt } from "@debvisor/shared/table";
import type { ApiReply } from "./client.ts";
import { type Call, type CommandSpec, EXIT } from "./command.ts";
import { confirm, type Plan } from "./confirm.ts";
import { durableCommand } from "./durable-command.ts";
import { reportFanOut } from "./fan-out.ts";
import { privilegeOf, toHttp } from "./from-contract.ts";

/** Time that a gateway has beyond the operation's own limit, before the client gives up. */
const SLACK_MS = 3_000;

/** The commands of all operations that have one. */
export function derivedCommands(): readonly CommandSpec[] {
  return allOperations().flatMap((operation) =>
    operation.spec.cli && operation.spec.http ? [commandOf(operation, operation.spec.cli)] : [],
  );
}

function commandOf(operation: RegisteredOperation, cli: CliSpec): CommandSpec {
  return operation.spec.durable ? durableCommand(operation) : derive(operation, cli);
}

/** Prints the answer of an operation that one instance answers; may give another exit code than 0. */
// biome-ignore lint/suspicious/noConfusingVoidType: most printers have nothing to say about the exit code
export type Printer = (reply: ApiReply, cli: CliSpec, call: Call) => number | void;

/** The command of one operation. */
export function derive(
  { spec }: Pick<RegisteredOperation, "spec">,
  cli: CliSpec,
  print: Printer = printReply,
): CommandSpec {
  const perNode = spec.scope === "node";
  return {
    noun: cli.noun,
    verb: cli.verb,
    summary: spec.summary,
    input: perNode ? spec.input.extend({ nodes: NodeSelection }) : spec.input,
    args: cli.args ?? [],
    effect: spec.effect,
    perNode,
    privilege: privilegeOf(spec),
    errors: spec.errors,
    help: cli,
    run: (call) => runOperation(spec, cli, call, print),
  };
}

/** The command of an operation that a file of its own makes more of. */
export function deriveOne(spec: OperationSpec, print?: Printer): CommandSpec {
  if (!spec.cli) throw new TypeError("the operation has no command");
  return derive({ spec }, spec.cli, print);
}

async function runOperation(spec: OperationSpec, cli: CliSpec, call: Call, print: Printer): Promise<number> {
  const stop = await confirm(planOf(spec, cli, call), call);
  if (stop !== undefined) return stop;
  const reply = await call.client().request({ ...toHttp(spec, call.given), timeoutMs: spec.timeoutMs + SLACK_MS });
  if (spec.scope === "node") return reportFanOut(reply, cli, call);
  return print(reply, cli, call) ?? EXIT.ok;
}

function planOf(spec: OperationSpec, cli: CliSpec, call: Call): Plan {
  const targets = [...(cli.args ?? []), ...(spec.scope === "node" ? ["nodes"] : [])].map((key) =>
    String(call.given[key] ?? ""),
  );
  return {
    title: [call.program.name, cli.noun, cli.verb].filter(Boolean).join(" "),
    effect: spec.effect,
    targets: targets.filter((target) => target !== ""),
    perNode: spec.scope === "node",
    input: call.given,
    changes: cli.changes,
    undo: cli.undo,
  };
}

function printReply({ body, text }: ApiReply, cli: CliSpec, call: Call): void {
  const style = { color: call.output.color, nowMs: Date.now() };
  const rows = cli.rows === undefined ? undefined : valueAt(body, cli.rows);
  const { columns } = cli;
  call.output.result(
    body,
    () => (columns && Array.isArray(rows) ? renderTable(columns, rows, style) : renderRecord(body, style)),
    text,
  );
  const cursor = valueAt(body, "nextCursor");
  if (typeof cursor === "string") call.output.info(`there is more: repeat with --cursor ${cursor}, or raise --limit`);
  const before = valueAt(body, "nextBefore");
  if (typeof before === "number") call.output.info(`there is more: repeat with --before ${before}, or raise --limit`);
  if (Array.isArray(rows) && rows.length === 0) call.output.info("nothing to list");
}
