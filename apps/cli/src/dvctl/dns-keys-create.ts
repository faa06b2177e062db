// SPDX-License-Identifier: Apache-2.0
/**
 * `dvctl dns keys create NAME`: makes a TSIG key here, writes one file for clients and one for named.conf, and stores the key sealed.
 * The secret is made by this command, so that no answer has to carry it.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { dnsContract } from "@debvisor/proto-events/dns";
import { TsigAlgorithm, TsigKeyName } from "@debvisor/proto-events/dns-data";
import { DvError } from "@debvisor/shared/errors";
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";
import { storeKeyFile } from "../tsig-key-store.ts";

const { setKey } = dnsContract.operations;

/** Bytes of a secret: as many as the algorithm's result has (RFC 8945 §6). */
const BYTES = { "hmac-sha256": 32, "hmac-sha384": 48, "hmac-sha512": 64 } as const;

const Input = z.strictObject({
  key: TsigKeyName,
  algorithm: TsigAlgorithm.default("hmac-sha256"),
  out: z.string().min(1).default(".").describe("Folder for the two files; it has to exist."),
});

export const dnsKeysCreate: CommandSpec = {
  noun: "dns",
  verb: "keys create",
  summary: "Make a TSIG key: a file for clients, a file for named.conf, and the sealed key in the cluster.",
  input: Input,
  args: ["key"],
  effect: "change",
  privilege: privilegeOf(setKey),
  errors: [...setKey.errors, "CONFLICT"],
  help: {
    examples: [
      { command: "dvctl dns keys create dv-2026", does: "Write dv-2026.key and dv-2026.conf here, and store the key." },
      {
        command: "dvctl dns keys create dv-2026 --algorithm hmac-sha512 --out /root/keys",
        does: "The same with another algorithm, in another folder.",
      },
    ],
    preconditions: "The folder exists, and neither file does. The cluster has no key of that name.",
    changes:
      "Writes NAME.key (0600, for nsupdate and dig) and NAME.conf (0640, to be included by named.conf), and stores the key. No server is told.",
    undo: "Remove both files; dvctl dns keys remove NAME",
  },
  run: async (call) => {
    const { key: name, algorithm, out } = Input.parse(call.given);
    const client = join(out, `${name}.key`);
    const server = join(out, `${name}.conf`);
    const secret = randomBytes(BYTES[algorithm]).toString("base64");
    const statement = `key "${name}" {\n\talgorithm ${algorithm};\n\tsecret "${secret}";\n};\n`;
    const use = `// Include this in named.conf, and let the key into zones: update-policy { grant ${name} zonesub ANY; };\n`;
    const written: string[] = [];
    try {
      writeNew(client, statement, 0o600, call, written);
      writeNew(server, use + statement, 0o640, call, written);
      const { reply } = await storeKeyFile(client, call);
      const { output } = call;
      const body = { ...(reply.body as object), client, server };
      output.result(body, () => renderRecord(body, { color: output.color, nowMs: Date.now() }));
      return EXIT.ok;
    } catch (error) {
      // A key that is not stored, or half of its files, would be taken for one that works.
      for (const file of written) rmSync(file, { force: true });
      throw error;
    }
  },
};

/** @throws CONFLICT when there is something of that name, INVALID_ARGUMENT when it cannot be written */
function writeNew(file: string, text: string, mode: number, { cwd }: Call, written: string[]): void {
  const path = resolve(cwd, file);
  try {
    writeFileSync(path, text, { mode, flag: "wx" });
    written.push(path);
    // Whatever mask the caller has.
    chmodSync(path, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new DvError("CONFLICT", `${file} exists already; nothing was overwritten.`);
    throw new DvError("INVALID_ARGUMENT", `--out: ${file} cannot be written (${code}).`, { cause: error });
  }
}
