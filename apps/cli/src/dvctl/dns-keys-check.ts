// SPDX-License-Identifier: Apache-2.0
/**
 * `dvctl dns keys check NAME|FILE`: a stored key by its name, or a file with everything that makes it usable. The secret of a file goes in
 * the body of the request, signs one question for each server, and is kept nowhere.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { dnsContract } from "@debvisor/proto-events/dns";
import { TsigKeyName } from "@debvisor/proto-events/dns-data";
import { KeyCheck } from "@debvisor/proto-events/dns-keys";
import type { Column } from "@debvisor/proto-events/kit";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { renderTable } from "@debvisor/shared/table";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf, toHttp } from "../from-contract.ts";
import { readTsigKeyFile } from "../tsig-key-file.ts";

const { checkKey } = dnsContract.operations;
const SLACK_MS = 3_000;

const COLUMNS: readonly Column[] = [
  { heading: "CHECK", value: "check" },
  { heading: "SERVER", value: "server" },
  { heading: "ZONE", value: "zone" },
  { heading: "STATUS", value: "status" },
  { heading: "CODE", value: "code" },
  { heading: "DETAIL", value: "detail" },
];

const Body = checkKey.output.extend({ checks: z.array(KeyCheck.extend({ check: z.string() })) });

export const dnsKeysCheck: CommandSpec = {
  noun: "dns",
  verb: "keys check",
  summary: "Check a TSIG key: name, algorithm, secret, mode of its file, and whether the servers take what it signs.",
  input: z.strictObject({ key: z.string().min(1).describe("Name of a stored key, or a key file.") }),
  args: ["key"],
  effect: "read",
  privilege: privilegeOf(checkKey),
  errors: checkKey.errors,
  help: {
    examples: [
      {
        command: "dvctl dns keys check dv-2026",
        does: "Check a stored key; exit 6 when something is wrong or it is missing.",
      },
      { command: "dvctl dns keys check ./dv-2026.key", does: "Check a file, and try its key on the servers." },
    ],
  },
  run: async (call) => {
    const { output } = call;
    try {
      const body = await check(String(call.given["key"]), call);
      output.result(body, () => renderTable(COLUMNS, body.checks, { color: output.color, nowMs: Date.now() }));
      if (body.verdict === "ok") return EXIT.ok;
      output.error(`the key ${body.key} is not in order`);
    } catch (error) {
      const { code, message } = toDvError(error);
      if (code !== "DNS_KEY_INVALID" && code !== "DNS_KEY_NOT_FOUND") throw error;
      output.error(`${code}: ${message}`);
    }
    return EXIT.check;
  },
};

async function check(given: string, call: Call): Promise<z.output<typeof Body>> {
  const isFile = given.includes("/") || existsSync(resolve(call.cwd, given));
  if (!isFile && !TsigKeyName.safeParse(given).success)
    throw new DvError("DNS_KEY_NOT_FOUND", `There is no file ${given}, and no key can have that name.`);
  const file = isFile ? readTsigKeyFile(given, call) : undefined;
  const input = file ? { key: file.name, algorithm: file.algorithm, secret: file.secret } : { key: given };
  const reply = await call.client().request({ ...toHttp(checkKey, input), timeoutMs: checkKey.timeoutMs + SLACK_MS });
  const body = Body.parse(reply.body);
  if (!file) return body;
  const detail = `mode, name and algorithm are in order: ${file.name}, ${file.algorithm}`;
  const own = { check: "file", server: null, zone: null, status: "ok" as const, code: null, skewSeconds: null, detail };
  return { ...body, checks: [own, ...body.checks] };
}
