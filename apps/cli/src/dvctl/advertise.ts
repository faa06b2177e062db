// SPDX-License-Identifier: Apache-2.0
/**
 * `dvctl advertise`: shows this machine on mDNS for as long as the command runs. Its tag is random: without a cluster's key
 * it is nobody's member, and members list it as foreign.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { systemClock } from "@debvisor/shared/clock";
import { parseDuration } from "@debvisor/shared/units";
import { hostLabelOf } from "@debvisor/shared/validate";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { version } from "../program.ts";

const Input = z.strictObject({
  role: NodeRole.default("worker").describe("Role to show."),
  name: NodeName.optional().describe("Host name to show; default: this machine's."),
  port: z.coerce.number().int().min(1).max(65_535).default(8420).describe("Port to show (1 to 65535)."),
  status: z.enum(["joining", "ready", "leaving"]).default("ready").describe("Status to show."),
  interface: z
    .string()
    .max(64)
    .optional()
    .describe("Address or name of the interface; default: all that are not internal."),
  for: z
    .string()
    .refine((text) => parseDuration(text) !== undefined, "a time such as 30 (seconds) or 5m")
    .optional()
    .describe("End after this time, such as 30 (seconds) or 5m; default: Ctrl-C ends it."),
});

export const advertise: CommandSpec = {
  noun: "advertise",
  summary: "Show this machine on the LAN (mDNS) for as long as the command runs.",
  input: Input,
  args: [],
  effect: "read",
  privilege: "None, but the right to use UDP port 5353 on this machine only.",
  errors: ["MDNS_UNAVAILABLE"],
  help: {
    examples: [
      { command: "dvctl advertise --role worker", does: "Show a worker until Ctrl-C." },
      {
        command: "dvctl advertise --role server --for 30 --interface 127.0.0.1",
        does: "Show a server for half a minute, on this machine only.",
      },
    ],
    scenarios: [{ command: "dvctl discover --local", does: "Look from another machine whether it is seen." }],
    changes: "Nothing on disk. While it runs, the LAN sees an instance of _debvisor._tcp.",
    undo: "End the command: it says goodbye.",
    recovery: "Without a goodbye (kill -9) neighbours forget the instance after its time to live of two minutes.",
  },
  run: async ({ input, output, signal }) => {
    const { createMdns } = await import("@debvisor/shared/drivers/mdns");
    const { role, name = hostLabelOf(hostname()), port, status, interface: on, for: duration } = Input.parse(input);
    const nid = advertisedId(name);
    const mdns = await createMdns({
      interfaces: on === undefined ? [] : [on],
      onError: (error) => output.warn(error.message),
    });
    try {
      const random = () => randomBytes(8).toString("hex");
      mdns.advertise({
        instance: nid,
        port,
        txt: { v: "1", salt: random(), tag: random(), nid, st: status, role, ver: version(), host: name },
      });
      output.info(
        `advertising ${name} (${nid}) as ${role}, ${status}, port ${port}, on ${mdns.interfaces.join(", ")}; Ctrl-C ends it`,
      );
      const ms = duration === undefined ? undefined : parseDuration(duration);
      await (ms === undefined ? untilAborted(signal) : systemClock.sleep(ms, signal));
      output.info("saying goodbye");
    } finally {
      await mdns.close();
    }
    return EXIT.ok;
  },
};

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    // Nothing else may keep the process alive while it only waits.
    const awake = setInterval(() => undefined, 60_000);
    signal.addEventListener(
      "abort",
      () => {
        clearInterval(awake);
        resolve();
      },
      { once: true },
    );
  });
}

/** An id in the form of a node id, the same whenever this machine shows the same name. It proves nothing. */
function advertisedId(name: string): string {
  const digest = createHash("sha256").update(`dvctl advertise ${machineId()} ${name}`).digest();
  return Array.from({ length: 16 }, (_, i) => "abcdefghijklmnopqrstuvwxyz234567"[(digest[i] ?? 0) % 32]).join("");
}

function machineId(): string {
  try {
    return readFileSync("/etc/machine-id", "utf8").trim();
  } catch {
    return hostname();
  }
}
