// SPDX-License-Identifier: Apache-2.0
/** `dvctl cluster prepare DIR`: the files that an installer puts on every machine of a cluster that forms with nobody there. */
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync } from "node:fs";
import { join } from "node:path";
import { NodeName } from "@debvisor/proto-events/primitives";
import { writeFileAtomic } from "@debvisor/shared/atomic-file";
import { DvError } from "@debvisor/shared/errors";
import { parsePreseed, SECRET_BYTES } from "@debvisor/shared/join/preseed";
import { writePrivateFile } from "@debvisor/shared/node-files";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { contextText, firstKey, randomClusterId } from "../installer-files.ts";
import { asOwner, ensureFolder, folderOf, portsOf } from "../machine-flags.ts";

const Input = z.strictObject({
  dir: z.string().min(1).describe("Folder for the files; it is made if only its last part is missing."),
  id: NodeName.optional().describe("Id of the new cluster; default: a random one."),
  servers: z.coerce
    .number()
    .pipe(z.union([z.literal(1), z.literal(3), z.literal(5)]))
    .describe("How many servers the cluster is to have: 1, 3 or 5."),
  founder: NodeName.optional().describe(
    "Name of the machine that founds; without it a majority of the servers chooses.",
  ),
  addresses: z
    .array(z.string().min(1).max(300))
    .max(16)
    .default([])
    .describe("Machines to try where multicast does not pass: host, host:port or [IPv6]:port."),
});

export const clusterPrepare: CommandSpec = {
  noun: "cluster",
  verb: "prepare",
  summary: "Write the files that let machines form a cluster unattended: the same preseed file for each of them.",
  input: Input,
  args: ["dir"],
  effect: "change",
  privilege: "The right to write the folder, on this machine only.",
  errors: ["CONFLICT", "PRESEED_INVALID", "PERMISSION_DENIED"],
  help: {
    examples: [
      {
        command: "dvctl cluster prepare ./lab1 --id lab1 --servers 3",
        does: "Three servers that find each other and choose who founds.",
      },
      {
        command: "dvctl cluster prepare ./lab1 --id lab1 --servers 1 --founder node-1",
        does: "One server, which node-1 is to be; every other machine is a worker.",
      },
    ],
    scenarios: [
      {
        command: "dvctl cluster prepare ./lab1 --id lab1 --servers 3 --addresses 192.0.2.11,192.0.2.12",
        does: "Name machines to try where multicast does not pass.",
      },
      { command: "dvctl cluster members", does: "See who has joined, once the machines run." },
    ],
    changes:
      "Writes preseed.yaml (with a new 256-bit secret), gateway.yaml (for the servers) and context.json (with the first administrator's key) into the folder. Overwrites nothing. The installer puts preseed.yaml into /etc/debvisor with mode 0600; for a worker it adds the line `role: worker`.",
    undo: "Delete the folder, before a machine was given the files.",
    recovery: "Whoever has preseed.yaml may join: after a leak prepare anew for machines that have not started yet.",
  },
  run: (call) => asOwner(() => prepare(call)),
};

async function prepare(call: Call): Promise<number> {
  const { id: cluster = randomClusterId(), servers, founder, addresses, dir: typed } = Input.parse(call.input);
  const dir = folderOf(typed, call);
  const { stringify } = await import("yaml");
  const preseed = stringify({
    cluster,
    secret: randomBytes(SECRET_BYTES).toString("base64"),
    servers,
    ...(founder === undefined ? (servers === 1 ? { single: true } : {}) : { founder }),
    ...(addresses.length > 0 ? { addresses } : {}),
  });
  // The same check as on the machines, before anything is written.
  parsePreseed(preseed);
  const ports = portsOf([]);
  const key = firstKey(ports.gateway);
  const files = {
    preseed: join(dir, "preseed.yaml"),
    gateway: join(dir, "gateway.yaml"),
    context: join(dir, "context.json"),
  };
  const there = Object.values(files).find((file) => existsSync(file));
  if (there !== undefined)
    throw new DvError("CONFLICT", `${there} exists and is not overwritten: machines may have been given its secret.`, {
      details: { hint: "Name another folder." },
    });
  ensureFolder(dir, 0o700);
  writePrivateFile(files.preseed, preseed);
  // Only the hash of a random key: the gateway, which is not root, reads it.
  writeFileAtomic(files.gateway, stringify(key.gateway), 0o644);
  chmodSync(files.gateway, 0o644);
  writePrivateFile(files.context, contextText(cluster, ports.gateway, key.token));
  call.output.result({ cluster, servers, ...files }, () => Object.values(files).join("\n"));
  const { info } = call.output;
  info("next: the installer copies preseed.yaml to /etc/debvisor on every machine, gateway.yaml on every server");
  info("on a worker it adds the line `role: worker` to preseed.yaml");
  info("context.json is for whoever administers: /etc/debvisor/context.json on a server");
  return EXIT.ok;
}
