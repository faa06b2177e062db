// SPDX-License-Identifier: Apache-2.0
/** `dvctl dns keys import FILE`: stores a TSIG key from its file. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";
import { storeKeyFile } from "../tsig-key-store.ts";

const { setKey } = dnsContract.operations;

export const dnsKeysImport: CommandSpec = {
  noun: "dns",
  verb: "keys import",
  summary: "Store a TSIG key from a file of tsig-keygen; the secret is sealed and never shown again.",
  input: z.strictObject({ file: z.string().min(1).describe("Key file, mode 0600 or 0640.") }),
  args: ["file"],
  effect: "change",
  privilege: privilegeOf(setKey),
  errors: setKey.errors,
  help: {
    examples: [{ command: "dvctl dns keys import dv.key", does: "Store the key of dv.key under its name." }],
    preconditions: "The file has mode 0600 or 0640 and one key statement.",
    changes: "Stores name, algorithm and sealed secret. A key of that name with another secret is kept.",
    undo: "dvctl dns keys remove NAME",
  },
  run: async (call) => {
    const { reply } = await storeKeyFile(String(call.given["file"]), call);
    const { output } = call;
    output.result(reply.body, () => renderRecord(reply.body, { color: output.color, nowMs: Date.now() }), reply.text);
    return EXIT.ok;
  },
};
