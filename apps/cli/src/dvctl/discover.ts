// SPDX-License-Identifier: Apache-2.0
/**
 * `dvctl discover`: who is on the LAN. Asks the cluster where there is one, because its nodes hear more than this machine;
 * otherwise, or with `--local`, listens itself.
 */
import { DvError } from "@debvisor/shared/errors";
import { renderTable } from "@debvisor/shared/table";
import { SECOND_MS } from "@debvisor/shared/units";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";

const Input = z.strictObject({
  seconds: z.coerce
    .number()
    .min(0.2)
    .max(30)
    .default(5)
    .describe("How long to listen, in seconds (0.2 to 30); --timeout says the same."),
  interface: z.string().max(64).optional().describe("Address or name of the interface to ask on."),
  local: z.boolean().default(false).describe("Listen on this machine instead of asking the cluster."),
});

const COLUMNS = [
  { heading: "ID", value: "instance" },
  { heading: "NAME", value: "name" },
  { heading: "ADDRESS", value: "addresses", as: "list" as const },
  { heading: "PORT", value: "port" },
  { heading: "ROLE", value: "role" },
  { heading: "STATUS", value: "status" },
  { heading: "VERSION", value: "version" },
  { heading: "MEMBER", value: "member" },
];

const REPLY_SLACK_MS = 5_000;

interface Found {
  readonly items: readonly unknown[];
  readonly interfaces: readonly string[];
}

export const discover: CommandSpec = {
  noun: "discover",
  summary: "List the DebVisor nodes that answer on the LAN (mDNS).",
  input: Input,
  args: [],
  effect: "read",
  timeoutSets: "seconds",
  privilege:
    "A token with the permission discovery:lan:scan; the role viewer includes it. With --local none, but the right to use UDP port 5353.",
  errors: ["MDNS_UNAVAILABLE"],
  help: {
    examples: [
      { command: "dvctl discover", does: "Listen for five seconds." },
      {
        command: "dvctl discover --timeout 2 --local",
        does: "Listen for two seconds on this machine, without a cluster.",
      },
    ],
    scenarios: [{ command: "dvctl discover --local --interface 127.0.0.1", does: "Ask on one interface only." }],
    preconditions:
      "UDP multicast on port 5353 is not filtered. What is listed is a claim of whoever sent it and decides nothing.",
  },
  run: async (call) => {
    const { found, raw } = await ask(call);
    call.output.result(
      found,
      () => renderTable(COLUMNS, found.items, { color: call.output.color, nowMs: Date.now() }),
      raw,
    );
    call.output.info(`${found.items.length} found on ${found.interfaces.join(", ")}`);
    return EXIT.ok;
  },
};

async function ask(call: Call): Promise<{ found: Found; raw?: string }> {
  const { local, ...body } = Input.parse(call.input);
  if (local) return { found: await browse(call) };
  try {
    const reply = await call.client().request({
      method: "POST",
      path: "/v1/discover",
      body,
      timeoutMs: body.seconds * SECOND_MS + REPLY_SLACK_MS,
      attempts: 1,
    });
    return { found: reply.body as Found, raw: reply.text };
  } catch (error) {
    const away = error instanceof DvError && (error.code === "CONTEXT_MISSING" || error.code === "UNAVAILABLE");
    if (!away || call.signal.aborted) throw error;
    call.output.warn(`${error.message}: listening on this machine instead`);
    return { found: await browse(call) };
  }
}

async function browse({ input, output, signal }: Call): Promise<Found> {
  const { createMdns } = await import("@debvisor/shared/drivers/mdns");
  const { seconds, interface: on } = Input.parse(input);
  const mdns = await createMdns({
    interfaces: on === undefined ? [] : [on],
    onError: (error) => output.warn(error.message),
  });
  try {
    const candidates = await mdns.scan(seconds * SECOND_MS, signal);
    const items = candidates.map(({ instance, addresses, port, txt, seenAt }) => ({
      instance,
      name: txt.host,
      addresses,
      port,
      role: txt.role,
      status: txt.st,
      version: txt.ver,
      // Without a cluster there is nobody to belong to.
      member: "foreign",
      seenAt: new Date(seenAt).toISOString(),
    }));
    return { items, interfaces: mdns.interfaces };
  } finally {
    await mdns.close();
  }
}
