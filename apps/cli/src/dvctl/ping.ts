// SPDX-License-Identifier: Apache-2.0
/** `dvctl ping`: which servers of the context answer, and how fast. */
import { renderTable } from "@debvisor/shared/table";
import { z } from "zod";
import { createClient } from "../client.ts";
import { type Call, type CommandSpec, EXIT } from "../command.ts";

const LIMIT_MS = 2_000;

export const ping: CommandSpec = {
  noun: "ping",
  summary: "Show which gateways of the context answer, and how fast.",
  input: z.strictObject({}),
  args: [],
  effect: "read",
  privilege: "None; the health page of a gateway needs no token.",
  errors: ["CONTEXT_MISSING"],
  help: {
    examples: [{ command: "dvctl ping", does: "Show every server of the context with its answer." }],
    scenarios: [{ command: "dvctl ping --server http://127.0.0.1:8420", does: "Look at one server." }],
  },
  run: async (call) => {
    const { output } = call;
    const items = await Promise.all(call.context().servers.map((server) => pingOne(server, call)));
    const columns = [
      { heading: "SERVER", value: "server" },
      { heading: "STATUS", value: "status" },
      { heading: "MS", value: "ms", as: "fixed2" as const },
      { heading: "DETAIL", value: "detail" },
    ];
    output.result({ items }, () => renderTable(columns, items, { color: output.color, nowMs: Date.now() }));
    return items.some(({ status }) => status === "ok") ? EXIT.ok : EXIT.unavailable;
  },
};

async function pingOne(server: string, { output, signal }: Call) {
  const client = createClient({ context: { servers: [server], token: undefined }, output, signal });
  const start = performance.now();
  const reply = await client
    .request({ method: "GET", path: "/healthz", timeoutMs: LIMIT_MS, attempts: 1 })
    .catch((error: unknown) => error);
  const ms = Math.round((performance.now() - start) * 100) / 100;
  return reply instanceof Error
    ? { server, status: "unreachable", ms, detail: reply.message }
    : { server, status: "ok", ms, detail: null };
}
