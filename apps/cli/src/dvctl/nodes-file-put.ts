// SPDX-License-Identifier: Apache-2.0
/** `dvctl nodes file put`: the command of the contract, with the content from a file or standard input. */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { hostContract, MAX_FILE_BYTES } from "@debvisor/proto-events/host";
import { DvError } from "@debvisor/shared/errors";
import { formatBytes, KiB } from "@debvisor/shared/units";
import { z } from "zod";
import { usage } from "../argv.ts";
import type { Call } from "../command.ts";
import { durableCommand } from "../durable-command.ts";

const { putFile } = hostContract.operations;

export const nodesFilePut = durableCommand(
  { service: hostContract.service, wire: "put-file", spec: putFile },
  {
    fields: {
      fromFile: z
        .string()
        .min(1)
        .describe(`File with the content, at most ${MAX_FILE_BYTES / KiB} KiB; - reads standard input.`),
      contentBase64: undefined,
    },
    labels: { fileMode: "--mode" },
    prepare: ({ fromFile, ...given }, call) => {
      const content = readContent(String(fromFile), call);
      const text = (key: string) => (given[key] === undefined ? "as it is" : String(given[key]));
      return {
        fields: { ...given, contentBase64: content.toString("base64") },
        facts: {
          content: `${content.length} bytes, SHA-256 ${createHash("sha256").update(content).digest("hex")}`,
          mode: given["fileMode"] === undefined ? "as it is, 0644 for a new file" : String(given["fileMode"]),
          owner: `${text("owner")}, group: ${text("group")}`,
        },
      };
    },
  },
);

/* One byte more than allowed is enough to know: a device or a pipe without end must not fill the memory. */
function readContent(file: string, { cwd }: Call): Buffer {
  const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  try {
    const descriptor = file === "-" ? 0 : openSync(resolve(cwd, file), "r");
    try {
      if (fstatSync(descriptor).isDirectory()) throw usage(`--from-file: ${file} is a folder`);
      for (let read = -1; read !== 0 && length < buffer.length; length += read)
        read = readSync(descriptor, buffer, length, buffer.length - length, null);
    } finally {
      if (file !== "-") closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof DvError) throw error;
    throw new DvError(
      "INVALID_ARGUMENT",
      `--from-file: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
      {
        cause: error,
      },
    );
  }
  if (length <= MAX_FILE_BYTES) return buffer.subarray(0, length);
  throw new DvError("FILE_TOO_LARGE", `${file} is larger than ${formatBytes(MAX_FILE_BYTES)}`);
}
