// SPDX-License-Identifier: Apache-2.0
/**
 * `debvisor-join`: lets the machine it is typed on join a cluster, with the one-time code that `dvctl nodes accept` made on a member.
 * Machines with a preseed file need nobody; for them the unit of the same name does it.
 */
import { createInterface } from "node:readline";
import { NodeRole } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import { parseHostPort } from "@debvisor/shared/join/addresses";
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import { usage } from "./argv.ts";
import { type Call, type CommandSpec, EXIT, type Program } from "./command.ts";
import {
  asOwner,
  ensureFolder,
  folderOf,
  giveToOwner,
  MACHINE_PRIVILEGE,
  machineFlags,
  nodeDirFlag,
  portsOf,
} from "./machine-flags.ts";

const JOIN_PORT = 8422;

const Input = z.strictObject({
  code: z
    .string()
    .regex(/^[0-9A-Za-z\s-]{4,64}$/, "the code that dvctl nodes accept printed")
    .optional()
    .describe("The one-time code; default: asked for on the terminal, else the first line of standard input."),
  words: z
    .boolean()
    .default(false)
    .describe("Show six words instead of asking for a code; join once they were compared on both screens."),
  role: NodeRole.default("worker").describe("What this machine is to be. A server keeps the cluster's data."),
  address: z
    .array(z.string())
    .max(16)
    .default([])
    .describe("Member to ask: host, host:port or [IPv6]:port; default: those that show themselves by mDNS."),
  interface: z
    .array(z.string().min(1).max(64))
    .max(32)
    .default([])
    .describe("Interfaces for mDNS, by name or address; default: all that are not internal."),
  ...machineFlags,
  nodeDir: nodeDirFlag,
});

const join: CommandSpec = {
  noun: "",
  summary: "Join a cluster with a one-time code that a member made (dvctl nodes accept), or by comparing six words.",
  input: Input,
  args: [],
  effect: "change",
  privilege: MACHINE_PRIVILEGE,
  errors: [
    "JOIN_CODE_WRONG",
    "JOIN_WORDS_DIFFER",
    "JOIN_MODE_REFUSED",
    "JOIN_VERSION",
    "JOIN_UNREACHABLE",
    "MDNS_UNAVAILABLE",
    "CONFLICT",
    "MEMBER_REMOVED",
    "NODE_NAME_TAKEN",
    "CLUSTER_FULL",
    "DATA_FOLDER_CORRUPT",
    "PERMISSION_DENIED",
    "KEY_BOUND_ELSEWHERE",
    "TIMEOUT",
  ],
  help: {
    examples: [
      { command: "debvisor-join", does: "Show that this machine waits, and ask for the code." },
      { command: "debvisor-join --role server", does: "Join as a server." },
      { command: "debvisor-join --code k7qf2m9xpt", does: "Give the code at once." },
      { command: "debvisor-join --words", does: "Show six words, and ask whether a member shows the same." },
    ],
    scenarios: [
      { command: "debvisor-join --address 192.0.2.11", does: "Name a member where multicast does not pass." },
      { command: "dvctl nodes pending", does: "On a member: see that this machine waits." },
      {
        command: "dvctl nodes accept",
        does: "On a member: make the code. It is good for one machine and five minutes.",
      },
    ],
    preconditions:
      "This machine belongs to no cluster. A member made a code, or somebody there approves the words (dvctl nodes approve).",
    changes:
      "Writes the machine's key, and what the cluster hands over: membership, certificate, credentials. systemctl start debvisor.target starts its services afterwards.",
    undo: "dvctl nodes reset ID on this machine; its entry in the cluster is removed by whoever administers that.",
    recovery: "A join that broke off after the code was taken needs a new code; nothing else is left behind.",
  },
  run: (call) => asOwner(() => joinHere(call)),
};

/** The program `debvisor-join`. */
export function joinProgram(): Program {
  return { name: "debvisor-join", summary: "lets this machine join a cluster.", single: true, commands: [join] };
}

async function joinHere(call: Call): Promise<number> {
  const { code, words, role, address, interface: interfaces, name, listen, ...input } = Input.parse(call.input);
  if (words && code !== undefined) throw usage("--words and --code are two ways to join; give one of them");
  const { output, signal } = call;
  const addresses = address.map(placeOf);
  const dir = folderOf(input.nodeDir, call);
  const [{ refuseTaken }, { openMachine }, { waitAttended }, { silentLogger }] = await Promise.all([
    import("../../../services/discovery/joining/single.ts"),
    import("../../../services/discovery/joining/machine.ts"),
    import("../../../services/discovery/joining/attended.ts"),
    import("@debvisor/shared/log"),
  ]);
  refuseTaken(dir);
  ensureFolder(dir, 0o700);
  const machine = openMachine(dir, { name, role, listen, ports: portsOf(input.ports) });
  giveToOwner(dir);
  const attended = await waitAttended({
    ...{ machine, addresses, interfaces, signal },
    log: silentLogger(),
    onProgress: (what) => output.info(what),
  });
  try {
    output.info(`this machine: ${machine.name}, node ${machine.id}, role ${role}`);
    if (code === undefined && !words) output.info(`to let it in, on a member: dvctl nodes accept ${machine.id}`);
    const { membership, by, ...letIn } = words
      ? await attended.letInByWords((shown, ended) => compare(call, machine.id, shown, ended))
      : await attended.letIn(code ?? (await askForCode(call)));
    giveToOwner(dir);
    const { cluster, formation } = membership;
    const result = { cluster, formation, node: machine.id, name: machine.name, role: letIn.role, letInBy: by };
    output.result(result, () => renderRecord(result, { color: output.color, nowMs: Date.now() }));
    output.info("next: systemctl start debvisor.target");
    return EXIT.ok;
  } finally {
    await attended.stop();
  }
}

function placeOf(text: string) {
  const place = parseHostPort(text, JOIN_PORT);
  if (!place) throw usage(`--address: ${text} is no host, host:port or [IPv6]:port`);
  return place;
}

async function askForCode(call: Call): Promise<string> {
  const code = Input.shape.code.safeParse((await nextLine(call, "Code: ", call.signal))?.trim());
  if (code.success && code.data !== undefined && code.data !== "") return code.data;
  throw usage("a code is needed: what dvctl nodes accept printed on a member");
}

/** Whether somebody says that a member shows the same words. What is neither yes nor no is asked again on a terminal. */
async function compare(call: Call, id: string, words: string, ended: AbortSignal): Promise<boolean> {
  const { output, terminal } = call;
  output.info(`words: ${words}`);
  output.info(
    `on a member, dvctl nodes pending has to show the same; then there: dvctl nodes approve ${id} --words "${words}"`,
  );
  for (;;) {
    const answer = (await nextLine(call, "Does the member show the same words? yes or no: ", ended))
      ?.trim()
      .toLowerCase();
    if (answer === "yes" || answer === "no") return answer === "yes";
    if (answer === undefined || !terminal) throw usage("yes or no is needed: whether the member shows the same words");
  }
}

/* Line by line, so that the machine goes on showing itself while somebody reads from another screen. */
async function nextLine({ terminal }: Call, question: string, signal: AbortSignal): Promise<string | undefined> {
  const input = terminal?.stdin ?? process.stdin;
  const lines = createInterface(terminal ? { input, output: terminal.stderr, terminal: true } : { input });
  return await new Promise<string | undefined>((resolve, reject) => {
    const interrupted = () => reject(new DvError("UNAVAILABLE", "Joining was ended before an answer was typed."));
    if (signal.aborted) interrupted();
    signal.addEventListener("abort", interrupted, { once: true });
    lines.once("SIGINT", () => process.kill(process.pid, "SIGINT"));
    lines.once("close", () => resolve(undefined));
    if (terminal) lines.question(question, resolve);
    else lines.once("line", resolve);
  }).finally(() => lines.close());
}
