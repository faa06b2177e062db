// SPDX-License-Identifier: Apache-2.0
/** `dvctl credentials create --role event-reader`: a NATS credentials file for an integrator, made on a server. */
import { existsSync } from "node:fs";
import { DvError } from "@debvisor/shared/errors";
import { nodePaths, readJsonFileIfPresent, readMembership, ServerSecrets } from "@debvisor/shared/node-files";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { asOwner, folderOf, nodeDirFlag } from "../machine-flags.ts";

const Input = z.strictObject({
  role: z.enum(["event-reader"]).describe("What it may do. event-reader: hear events, and nothing else."),
  name: z
    .string()
    .regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/, "lower-case letters, digits and dashes")
    .max(48)
    .describe("Name of the integrator; its user on the bus is events-NAME."),
  nodeDir: nodeDirFlag,
});

export const credentialsCreate: CommandSpec = {
  noun: "credentials",
  verb: "create",
  summary: "Print a NATS credentials file with which a program of somebody else may subscribe to events.",
  input: Input,
  args: [],
  effect: "change",
  privilege: "The right to read the keys of a server (root), on this machine only.",
  errors: ["UNAVAILABLE", "DATA_FOLDER_CORRUPT", "PERMISSION_DENIED"],
  help: {
    examples: [
      {
        command: "dvctl credentials create --role event-reader --name grafana > grafana.creds",
        does: "Make the credential of one integrator.",
      },
    ],
    scenarios: [
      {
        command: "dvctl credentials create --role event-reader --name siem --json",
        does: "With the addresses of the bus, and the file by which its servers are checked.",
      },
    ],
    preconditions: "This machine is a server of the cluster.",
    changes: "Nothing in the cluster: the credential is signed with the server's keys and printed once.",
    undo: "A credential that was made stays valid; give one name to one program, and keep the file like a password.",
    recovery: "A lost file is made anew by the same command; the old one stays valid.",
  },
  run: (call) => asOwner(() => create(call)),
};

async function create(call: Call): Promise<number> {
  const { name, nodeDir } = Input.parse(call.input);
  const dir = folderOf(nodeDir, call);
  const paths = nodePaths(dir);
  const secrets = readJsonFileIfPresent(paths.secrets, ServerSecrets);
  const membership = readMembership(dir);
  if (!secrets || !membership)
    throw new DvError("UNAVAILABLE", `This machine is no server of a cluster (${paths.secrets} is missing).`, {
      details: { hint: "Run it on a server: `dvctl cluster members --filter role=server`." },
    });
  const { createIssuer } = await import("@debvisor/shared/bus/trust");
  const { user, creds } = await createIssuer(secrets.trust).forEventReader(name);
  const ca = existsSync(paths.tls.ca) ? paths.tls.ca : null;
  const { busServers } = membership;
  call.output.result({ user, creds, ca, busServers }, () => creds.trimEnd());
  call.output.info(`user ${user}; bus: ${busServers.map((server) => `tls://${server}`).join(", ")}`);
  if (ca !== null) call.output.info(`the program checks the servers by ${ca}; give it a copy`);
  return EXIT.ok;
}
