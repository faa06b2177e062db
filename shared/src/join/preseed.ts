// SPDX-License-Identifier: Apache-2.0
/**
 * `/etc/debvisor/preseed.yaml`: what an installer tells a machine before it first starts (row FB-18), so that it joins with nobody
 * there. Every field is checked; a misspelt one is refused, because a machine that ignored it would wait for ever.
 */
import { hostname } from "node:os";
import { NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { parse } from "yaml";
import { z } from "zod";
import { DvError } from "../errors.ts";
import { parseHostPort } from "./addresses.ts";

/** Least length of a cluster secret, in bytes: 256 bits (RULES.md 3). */
export const SECRET_BYTES = 32;
/** Different byte values that 32 random bytes have at least; fewer means that somebody typed it. */
const LEAST_DIFFERENT = 16;

const Port = z.number().int().min(1).max(65_535);

const Secret = z.string().superRefine((text, issue) => {
  const bytes = Buffer.from(text, "base64");
  const fault =
    bytes.toString("base64").replace(/=+$/, "") !== text.trim().replace(/=+$/, "")
      ? "is not base64"
      : bytes.length < SECRET_BYTES
        ? `has ${bytes.length * 8} bits; ${SECRET_BYTES * 8} are needed`
        : new Set(bytes).size < LEAST_DIFFERENT
          ? "is not random"
          : undefined;
  if (fault) issue.addIssue({ code: "custom", message: `${fault}; make one with \`openssl rand -base64 32\`` });
});

const Address = z.string().superRefine((text, issue) => {
  if (!parseHostPort(text, 1)) issue.addIssue({ code: "custom", message: "is no host, host:port or [IPv6]:port" });
});

/** Ports of a machine. `helper`: for the short-lived second nats-server that a lone one needs to start. */
export const MachinePorts = z.strictObject({
  bus: Port.default(4222),
  cluster: Port.default(6222),
  monitor: Port.default(8222),
  helper: z.tuple([Port, Port, Port]).default([4223, 6223, 8223]),
  join: Port.default(8422),
  gateway: Port.default(8420),
});
export type MachinePorts = z.output<typeof MachinePorts>;

const text = z.string().min(1).max(1_000);
const words = z.array(text).max(1_000);

/** What the file may say besides how to join; whoever sets up those parts reads it. */
const FOR_OTHERS = {
  profile: text.optional().describe("Profile of the machine."),
  network: z.record(z.string(), z.unknown()).optional().describe("Settings of the network, by interface."),
  ceph: z.strictObject({ init: z.boolean().optional(), monitors: words.optional(), osds: words.optional() }).optional(),
  k8s: z.strictObject({ init: z.boolean().optional(), endpoint: text.optional() }).optional(),
  addons: words.optional(),
  adminKeys: words.optional().describe("Public SSH keys of administrators."),
};

/** The file. */
export const Preseed = z
  .strictObject({
    cluster: NodeName.describe("Cluster id; equal on all machines."),
    secret: Secret.describe("256 random bits, base64; equal on all machines."),
    servers: z.union([z.literal(1), z.literal(3), z.literal(5)]).describe("How many servers the cluster is to have."),
    founder: NodeName.optional().describe(
      "Name of the machine that founds; without it a majority of the servers chooses.",
    ),
    single: z.literal(true).optional().describe("Has to be said where `servers` is 1."),
    role: NodeRole.default("server"),
    name: NodeName.optional().describe("Name of this machine; default: its host name."),
    addresses: z.array(Address).max(16).default([]).describe("Machines to try where multicast does not pass."),
    interfaces: z.array(z.string().min(1).max(64)).max(32).default([]).describe("Interfaces for mDNS; default: all."),
    listen: z.union([z.ipv4(), z.ipv6()]).optional().describe("Address of this machine that the others reach."),
    ports: MachinePorts.prefault({}),
    ...FOR_OTHERS,
  })
  .superRefine(({ servers, single, founder, role }, issue) => {
    if (servers === 1 && role === "server" && single !== true && founder === undefined)
      issue.addIssue({
        code: "custom",
        path: ["single"],
        message: "one server founds alone; say `single: true` or name the founder",
      });
    if (servers !== 1 && single)
      issue.addIssue({ code: "custom", path: ["single"], message: "is only for `servers: 1`" });
  });
export type Preseed = z.output<typeof Preseed>;

/** Reads the file's text. @throws PRESEED_INVALID naming the first field that is wrong; never repeats the secret */
export function parsePreseed(text: string): Preseed {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    const [line] = (error as Error).message.split("\n");
    throw new DvError("PRESEED_INVALID", `The preseed file is no YAML: ${line}`);
  }
  const result = Preseed.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.join(".") || "the file";
  throw new DvError("PRESEED_INVALID", `The preseed file is not usable: ${where}: ${issue?.message ?? "unknown"}.`);
}

/** Name of this machine: as preseeded, or its host name up to the first dot. @throws PRESEED_INVALID when that is no node name */
export function machineName(preseeded: string | undefined): string {
  const name = preseeded ?? hostname().toLowerCase().split(".")[0] ?? "";
  const result = NodeName.safeParse(name);
  if (!result.success)
    throw new DvError("PRESEED_INVALID", `The host name ${JSON.stringify(name)} is no node name; set \`name\`.`);
  return result.data;
}
