// SPDX-License-Identifier: Apache-2.0
/** Talks to the launcher of the local cluster through its control socket: one JSON line there, one back (DESIGN.md 8a). */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { dirname, resolve } from "node:path";
import type { ErrorCode } from "@debvisor/proto-events/errors";
import { WireError } from "@debvisor/proto-events/replies";
import { DvError, fromWire } from "@debvisor/shared/errors";
import { renderTable } from "@debvisor/shared/table";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "./command.ts";

const LabFile = z.object({ version: z.literal(1), pid: z.number().int(), socket: z.string() });

const Reply = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), data: z.unknown() }),
  z.object({ ok: z.literal(false), error: WireError }),
]);

/** Starting a node includes nats-server and its services. */
const REPLY_LIMIT_MS = 60_000;

/** Input fields of every lab command. */
export const labInput = {
  data: z
    .string()
    .min(1)
    .optional()
    .describe("Data folder of the local cluster; default: that of the context, else ./.debvisor."),
};

const DONE = { start: "started", stop: "stopped", kill: "killed" } as const;

/** A command of the launcher. */
export interface LabRequest {
  readonly command: "status" | "start" | "stop" | "kill";
  readonly node?: string;
}

/** What the launcher reports of a node. */
interface LabNode {
  readonly services?: readonly { readonly name: string }[];
}

/** Folder of the local cluster that a command means. */
export function dataFolder(call: Pick<Call, "input" | "cwd" | "context">): string {
  const given = call.input["data"];
  if (typeof given === "string") return resolve(call.cwd, given);
  const fallback = resolve(call.cwd, ".debvisor");
  try {
    const { file } = call.context();
    return file === undefined || file.startsWith("/etc/") ? fallback : dirname(file);
  } catch {
    return fallback;
  }
}

/** Sends a request to the launcher. @throws LAB_NOT_RUNNING, DATA_FOLDER_CORRUPT, and what the launcher refuses with */
export async function askLab(folder: string, request: LabRequest, signal: AbortSignal): Promise<unknown> {
  const line = await exchange(socketOf(folder), `${JSON.stringify(request)}\n`, folder, signal);
  const reply = Reply.safeParse(parse(line));
  if (!reply.success)
    throw new DvError("MALFORMED_REPLY", "the launcher's answer cannot be read", { cause: reply.error });
  if (!reply.data.ok) throw fromWire(reply.data.error);
  return reply.data.data;
}

function socketOf(folder: string): string {
  const file = resolve(folder, "lab.json");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw notRunning(folder, error);
  }
  const lab = LabFile.safeParse(parse(text));
  if (!lab.success)
    throw new DvError("DATA_FOLDER_CORRUPT", `${file} cannot be read as what it should be`, { cause: lab.error });
  return resolve(folder, lab.data.socket);
}

function notRunning(folder: string, cause: unknown): DvError {
  return new DvError("LAB_NOT_RUNNING", `no local cluster runs from ${folder}`, {
    details: { dataDir: folder },
    cause,
  });
}

function exchange(path: string, line: string, folder: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolveLine, reject) => {
    let received = "";
    const socket = connect(path, () => socket.write(line));
    const fail = (code: ErrorCode, message: string) => {
      socket.destroy();
      reject(new DvError(code, message));
    };
    socket.setEncoding("utf8");
    socket.setTimeout(REPLY_LIMIT_MS, () =>
      fail("TIMEOUT", `the launcher gave no answer within ${REPLY_LIMIT_MS / 1000} s`),
    );
    socket.on("data", (chunk) => {
      received += String(chunk);
      if (!received.includes("\n")) return;
      socket.destroy();
      resolveLine(received.slice(0, received.indexOf("\n")));
    });
    socket.on("error", (error) => reject(notRunning(folder, error)));
    socket.on("end", () => fail("UNAVAILABLE", "the launcher ended before it answered"));
    signal.addEventListener("abort", () => fail("UNAVAILABLE", "interrupted"), { once: true });
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Prints what the launcher answered: its nodes as a table, or the data unchanged. */
export function printLab(data: unknown, { output }: Pick<Call, "output">): void {
  const columns = [
    { heading: "NODE", value: "name" },
    { heading: "STATE", value: "state" },
    { heading: "PID", value: "pid" },
    { heading: "NATS PID", value: "natsPid" },
    { heading: "NATS PORT", value: "natsPort" },
    { heading: "GATEWAY", value: "gatewayUrl" },
    { heading: "SERVICES", value: "services", as: "list" as const },
  ];
  const nodes = (data as { nodes?: readonly LabNode[] } | null)?.nodes ?? [data as LabNode];
  const rows = nodes.map((node) => ({ ...node, services: node?.services?.map(({ name }) => name) }));
  output.result(data, () => renderTable(columns, rows, { color: output.color, nowMs: Date.now() }));
}

/** What differs between the commands about one node. */
export interface LabNodeText extends Pick<CommandSpec, "summary"> {
  readonly changes: string;
  readonly undo: string;
  readonly does: string;
}

/** The command that does something to one node of the local cluster. `after` may go on once the launcher has done it. */
export function labNodeCommand(
  verb: "start" | "stop" | "kill",
  text: LabNodeText,
  after: { readonly fields: z.ZodRawShape; readonly run: (node: string, call: Call) => Promise<number> } = {
    fields: {},
    run: () => Promise.resolve(EXIT.ok),
  },
): CommandSpec {
  return {
    noun: "lab",
    verb,
    summary: text.summary,
    input: z.strictObject({
      node: z.string().min(1).max(63).describe("Name or id of the node."),
      ...after.fields,
      ...labInput,
    }),
    args: ["node"],
    effect: "change",
    privilege: "The user that started the local cluster, on this machine only.",
    errors: ["LAB_NOT_RUNNING", "NODE_NOT_FOUND"],
    help: {
      examples: [{ command: `dvctl lab ${verb} node-2`, does: text.does }],
      scenarios: [{ command: `dvctl lab ${verb} node-2 --data ./other`, does: "The same in another data folder." }],
      preconditions: "A local cluster runs (npm start).",
      changes: text.changes,
      undo: text.undo,
      recovery: "End the launcher with Ctrl-C and run npm start again: the cluster comes back from its data folder.",
    },
    run: async (call) => {
      const node = String(call.input["node"]);
      const data = await askLab(dataFolder(call), { command: verb, node }, call.signal);
      call.output.result(data, () => `${node}: ${DONE[verb]}`);
      return await after.run(node, call);
    },
  };
}
