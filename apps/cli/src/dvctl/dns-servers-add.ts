// SPDX-License-Identifier: Apache-2.0
/** `dvctl dns servers add`: the command of the contract, with the key from a file. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { z } from "zod";
import type { CommandSpec } from "../command.ts";
import { deriveOne } from "../derive.ts";
import { storeKeyFile } from "../tsig-key-store.ts";

const { setServer } = dnsContract.operations;
const derived = deriveOne(setServer);

export const dnsServersAdd: CommandSpec = {
  ...derived,
  input: setServer.input.extend({
    key: z
      .string()
      .min(1)
      .optional()
      .describe("File with the TSIG key (mode 0600); it is stored. A primary needs one."),
    keyName: setServer.input.shape.key.describe("Instead of a file: a key that is stored already."),
  }),
  errors: [...setServer.errors, "DNS_KEY_INVALID"],
  run: async (call) => {
    const { key: file, keyName, ...given } = call.given;
    const key = typeof file === "string" ? (await storeKeyFile(file, call)).name : keyName;
    return await derived.run({ ...call, given: { ...given, ...(key === undefined ? {} : { key }) } });
  },
};
