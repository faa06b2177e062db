// SPDX-License-Identifier: Apache-2.0
/** `dvctl cluster init --single`: makes the machine it is typed on the first of a cluster. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { NodeName } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import { nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import { usage } from "../argv.ts";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { contextText, firstKey, randomClusterId } from "../installer-files.ts";
import {
  asOwner,
  ensureFolder,
  etcFlag,
  folderOf,
  giveToOwner,
  MACHINE_PRIVILEGE,
  machineFlags,
  nodeDirFlag,
  portsOf,
} from "../machine-flags.ts";

const Input = z.strictObject({
  single: z.boolean().default(false).describe("Found a cluster of this machine alone; the others join it."),
  id: NodeName.optional().describe("Id of the new cluster; default: a random one."),
  servers: z.coerce
    .number()
    .pipe(z.union([z.literal(1), z.literal(3), z.literal(5)]))
    .default(3)
    .describe("How many servers the cluster may grow to: 1, 3 or 5."),
  ...machineFlags,
  nodeDir: nodeDirFlag,
  etc: etcFlag,
});

export const clusterInit: CommandSpec = {
  noun: "cluster",
  verb: "init",
  summary: "Found a cluster on this machine. The others are let in one by one with one-time codes.",
  input: Input,
  args: [],
  effect: "change",
  privilege: MACHINE_PRIVILEGE,
  errors: ["CONFLICT", "DATA_FOLDER_CORRUPT", "PRESEED_INVALID", "PERMISSION_DENIED"],
  help: {
    examples: [
      {
        command: "dvctl cluster init --single --id lab1",
        does: "Found cluster lab1 on this machine, to grow to three servers.",
      },
      {
        command: "dvctl cluster init --single --id lab1 --name node-1 --listen 192.0.2.11",
        does: "Choose the name, and the address that the others reach.",
      },
    ],
    scenarios: [
      {
        command: "dvctl status",
        does: "Afterwards, once systemctl start debvisor.target has started bus and services.",
      },
      { command: "dvctl nodes accept", does: "Then make a code, and type it at the next machine in debvisor-join." },
    ],
    preconditions: "This machine belongs to no cluster, and no context file is there yet.",
    changes:
      "Writes the machine's key, the cluster's keys and the membership into the folder with the node's files, and the first administrator's key into context.json.",
    undo: "dvctl nodes reset ID, before other machines have joined.",
    recovery: "Nothing that the command could not write is used; run it again.",
  },
  run: async (call) => {
    if (call.input["single"] !== true)
      throw usage(
        "say --single: it founds a cluster of this machine alone. For unattended machines: dvctl cluster prepare",
      );
    return await asOwner(() => init(call));
  },
};

async function init(call: Call): Promise<number> {
  const { id: cluster = randomClusterId(), servers, name, listen, ...input } = Input.parse(call.input);
  const { foundSingle, refuseTaken } = await import("../../../../services/discovery/joining/single.ts");
  const dir = folderOf(input.nodeDir, call);
  const etc = folderOf(input.etc, call);
  const ports = portsOf(input.ports);
  const context = join(etc, "context.json");
  refuseTaken(dir);
  if (existsSync(context))
    throw new DvError("CONFLICT", `${context} exists; the key in it may be the only one of another cluster.`, {
      details: { hint: "Move it away, or name another folder with --etc." },
    });
  ensureFolder(etc, 0o755);
  ensureFolder(dir, 0o700);
  const key = firstKey(ports.gateway);
  await writeSettings(dir, { gateway: key.gateway, join: ports.join });
  writePrivateFile(context, contextText(cluster, ports.gateway, key.token));
  // Last: from then on the units start.
  const { machine, membership } = await foundSingle({ dir, cluster, servers, name, listen, ports });
  giveToOwner(dir);
  const [address] = machine.addresses;
  const result = {
    cluster,
    formation: membership.formation,
    node: machine.id,
    name: machine.name,
    address: address ?? null,
    servers,
    context,
  };
  call.output.result(result, () => renderRecord(result, { color: call.output.color, nowMs: Date.now() }));
  call.output.info("next: systemctl start debvisor.target, then dvctl status");
  call.output.info("to let a machine in: dvctl nodes accept here, debvisor-join there");
  return EXIT.ok;
}

/* Presets, because the services may read them and the operator's own file in /etc wins. */
async function writeSettings(
  dir: string,
  { gateway, join: joinPort }: { gateway: object; join: number },
): Promise<void> {
  const { stringify } = await import("yaml");
  const paths = nodePaths(dir);
  writePrivateFile(paths.presets("gateway"), stringify(gateway));
  // The cluster's secret was made here and nobody knows it: machines come in by code.
  writePrivateFile(paths.presets("discovery"), stringify({ joinPort, unattendedHours: 0 }));
}
