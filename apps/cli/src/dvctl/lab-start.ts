// SPDX-License-Identifier: Apache-2.0
/** `dvctl lab start NODE [--wait TIME]`. */
import { join } from "node:path";
import { createClient } from "../client.ts";
import { type Call, EXIT } from "../command.ts";
import { resolveContext } from "../context.ts";
import { dataFolder, labNodeCommand } from "../lab-control.ts";
import { type Look, lookUntil, waitField, waitMs } from "../waiting.ts";

const LIMIT_MS = 5_000;

export const labStart = labNodeCommand(
  "start",
  {
    summary: "Start a stopped node of the local cluster.",
    changes: "Starts the node's processes again from its folder.",
    undo: "dvctl lab stop NODE",
    does: "Bring node-2 back.",
  },
  {
    fields: { wait: waitField("the cluster calls the node alive (exit code 5 if it does not by then)") },
    run: waitUntilAlive,
  },
);

async function waitUntilAlive(node: string, call: Call): Promise<number> {
  const limitMs = waitMs(call.input);
  if (limitMs === undefined) return EXIT.ok;
  const context = resolveContext(
    { server: undefined, context: join(dataFolder(call), "context.json"), origin: {} },
    call.env,
    call.cwd,
  );
  const client = createClient({ context, output: call.output, signal: call.signal });
  const sinceMs = Date.now();
  const look = async (): Promise<Look<true>> => {
    const path = `/v1/nodes/${encodeURIComponent(node)}`;
    const { body } = await client.request({ method: "GET", path, timeoutMs: LIMIT_MS, attempts: 1 });
    const { state, lastSeen } = body as { readonly state?: string; readonly lastSeen?: string | null };
    // A node that was killed a moment ago still counts as alive: only a heartbeat since then is one.
    const heard = typeof lastSeen === "string" && Date.parse(lastSeen) >= sinceMs;
    return state === "alive" && heard ? { found: true } : { still: heard ? String(state) : "no heartbeat yet" };
  };
  const end = await lookUntil(`${node} to be alive`, limitMs, look, call);
  if ("found" in end) {
    call.output.info(`${node} is alive`);
    return EXIT.ok;
  }
  call.output.error(`${node} is not alive in time: ${end.still}`);
  return EXIT.failed;
}
