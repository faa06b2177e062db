// SPDX-License-Identifier: Apache-2.0
/** `dvctl errors [CODE]`: the error catalogue, without network; the reply has the shape of `GET /v1/errors`. */
import { ERROR_CODES, ERROR_KINDS } from "@debvisor/proto-events/errors";
import { DvError } from "@debvisor/shared/errors";
import { renderRecord, renderTable } from "@debvisor/shared/table";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { nearest } from "../wording.ts";

/** The catalogue as rows. */
export function errorRows() {
  return Object.entries(ERROR_CODES).map(([code, { kind, summary, remedy }]) => {
    const { http, exit, retryable } = ERROR_KINDS[kind];
    return { code, kind, http, exitCode: exit, retryable, summary, remedy };
  });
}

export const errors: CommandSpec = {
  noun: "errors",
  summary: "List the error codes, or explain one: kind, HTTP status, exit code, what to do.",
  input: z.strictObject({ code: z.string().max(64).optional().describe("Only this code.") }),
  args: ["code"],
  effect: "read",
  privilege: "None.",
  errors: ["NOT_FOUND"],
  help: {
    examples: [
      { command: "dvctl errors", does: "List every code." },
      { command: "dvctl errors NODE_NOT_FOUND", does: "Explain one code." },
    ],
  },
  run: ({ input, output }) => {
    const code = input["code"] === undefined ? undefined : String(input["code"]).toUpperCase();
    const items = errorRows().filter((row) => code === undefined || row.code === code);
    const style = { color: output.color, nowMs: Date.now() };
    if (items.length === 0) {
      const close = nearest(code ?? "", Object.keys(ERROR_CODES));
      throw new DvError("NOT_FOUND", `no error code ${code}${close}`, {
        details: { hint: "dvctl errors lists them." },
      });
    }
    const columns = [
      { heading: "CODE", value: "code" },
      { heading: "KIND", value: "kind" },
      { heading: "HTTP", value: "http" },
      { heading: "EXIT", value: "exitCode" },
      { heading: "WHAT HAPPENED", value: "summary" },
    ];
    output.result({ items }, () =>
      code === undefined ? renderTable(columns, items, style) : renderRecord(items[0], style),
    );
    return Promise.resolve(EXIT.ok);
  },
};
