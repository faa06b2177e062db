// SPDX-License-Identifier: Apache-2.0
/** `dvctl status`: the command of the contract, with a first line that says how the cluster is, and `--wait`. */
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { formatCell, renderTable, toned } from "@debvisor/shared/table";
import type { z } from "zod";
import type { ApiReply } from "../client.ts";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { deriveOne } from "../derive.ts";
import { lookUntil, waitField, waitMs } from "../waiting.ts";

const { getStatus } = gatewayContract.operations;
type Status = z.output<typeof getStatus.output>;

const LIMIT_MS = getStatus.timeoutMs + 3_000;
const derived = deriveOne(getStatus);

export const status: CommandSpec = {
  ...derived,
  input: derived.input.extend({ wait: waitField("the state is ok (exit code 6 if it is not by then)") }),
  help: {
    ...derived.help,
    scenarios: [
      { command: "dvctl status --wait 60 && echo ready", does: "Go on in a script once the cluster is well." },
      ...(derived.help.scenarios ?? []),
    ],
  },
  run: async (call) => {
    const limitMs = waitMs(call.input);
    if (limitMs === undefined) {
      print(await ask(call, undefined), call);
      return EXIT.ok;
    }
    return await waitUntilOk(limitMs, call);
  },
};

async function waitUntilOk(limitMs: number, call: Call): Promise<number> {
  let last: ApiReply | undefined;
  const look = async () => {
    last = undefined;
    last = await ask(call, 1);
    const seen = read(last);
    return seen?.state === "ok" ? { found: true } : { still: seen ? summaryOf(seen) : "no state" };
  };
  const end = await lookUntil("the cluster to be ok", limitMs, look, call);
  if (last) print(last, call);
  if ("found" in end) return EXIT.ok;
  call.output.error(`not ok in time: ${end.still}`);
  return EXIT.check;
}

function ask(call: Call, attempts: number | undefined): Promise<ApiReply> {
  const component = call.given["component"];
  return call.client().request({
    method: "GET",
    path: getStatus.http?.path ?? "",
    query: { component },
    timeoutMs: LIMIT_MS,
    ...(attempts === undefined ? {} : { attempts }),
  });
}

function print(reply: ApiReply, { output }: Call): void {
  output.result(reply.body, () => draw(read(reply), output.color), reply.text);
}

function read({ body }: ApiReply): Status | undefined {
  const checked = getStatus.output.safeParse(body);
  return checked.success ? checked.data : undefined;
}

function draw(seen: Status | undefined, color: boolean): string {
  if (seen === undefined) return "the state of the cluster cannot be read";
  const style = { color, nowMs: Date.now() };
  const head = `Cluster ${formatCell(seen.cluster, { value: "cluster" }, 0)} is ${toned(seen.state, color)}, ${nodesOf(seen)}`;
  return `${head}\n\n${renderTable(getStatus.cli?.columns ?? [], seen.components, style)}`;
}

/** `3 nodes: 2 alive, 1 lost`. */
function nodesOf({ nodes: { total, ...states } }: Status): string {
  const counted = Object.entries(states).filter(([, count]) => count > 0);
  const parts = counted.map(([state, count]) => `${count} ${state}`);
  return `${total} ${total === 1 ? "node" : "nodes"}${parts.length > 0 ? `: ${parts.join(", ")}` : ""}`;
}

function summaryOf(seen: Status): string {
  const wrong = seen.components.filter(({ state }) => state !== "ok");
  const what = wrong.map(({ component, state, detail }) => `${component} ${state} (${detail})`).join(", ");
  return `${seen.state}${what === "" ? "" : `: ${what}`}`;
}
