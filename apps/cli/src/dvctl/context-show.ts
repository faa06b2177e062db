// SPDX-License-Identifier: Apache-2.0
/** `dvctl context show`: which cluster a command would talk to, and why. The token is masked. */
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";

export const contextShow: CommandSpec = {
  noun: "context",
  verb: "show",
  summary: "Show which cluster commands talk to, and where that was said.",
  input: z.strictObject({}),
  args: [],
  effect: "read",
  privilege: "The right to read the context file, on this machine only.",
  errors: ["CONTEXT_MISSING"],
  help: {
    examples: [{ command: "dvctl context show", does: "Show file, cluster and servers." }],
    scenarios: [
      { command: "dvctl context show --context /etc/debvisor/context.json", does: "Look at another context." },
    ],
  },
  run: ({ context, output }) => {
    const { token, ...shown } = context();
    const masked = {
      ...shown,
      file: shown.file ?? null,
      cluster: shown.cluster ?? null,
      token: token === undefined ? null : "[masked]",
    };
    output.result(masked, () => renderRecord(masked, { color: output.color, nowMs: Date.now() }));
    return Promise.resolve(EXIT.ok);
  },
};
