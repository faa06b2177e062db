// SPDX-License-Identifier: Apache-2.0
/** The flags of `npm start`. */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DvError } from "@debvisor/shared/errors";

/** What the launcher was asked to do. */
export interface LabOptions {
  /** Number of nodes; undefined: as many as the data folder has, or 3. */
  readonly nodes: number | undefined;
  /** Port of node 1's gateway; undefined: the last one, or 8420. Node k listens on port + k − 1. */
  readonly port: number | undefined;
  readonly dataDir: string;
  readonly projectDir: string;
  /** Every service in a process of its own. */
  readonly processes: boolean;
  /** Start a node again when it ends by itself. */
  readonly respawn: boolean;
  readonly logLevel: string;
  readonly help: boolean;
}

export const USAGE = `Usage: npm start -- [flags]

Starts a cluster on this machine. Everything it writes stays in one folder; nothing else on the machine is touched.

  --nodes N       number of nodes, 1 to 32 (default 3, or what the data folder holds)
  --port P        port of the first gateway (default 8420); node k listens on P + k - 1
  --data DIR      data folder (default .debvisor in the project)
  --processes     every service in a process of its own, as systemd runs them
  --respawn       start a node again when it ends by itself
  --log-level L   debug, info, warn or error: which log lines are shown (default info)
  --help          this text

Started again on the same folder it resumes the same cluster. Ctrl-C stops it.
`;

const LEVELS = ["debug", "info", "warn", "error"];

/** Reads the flags. @throws INVALID_ARGUMENT */
export function parseLabOptions(argv: readonly string[], projectDir: string): LabOptions {
  const { values } = parse(argv);
  const logLevel = values["log-level"] ?? "info";
  if (!LEVELS.includes(logLevel))
    throw new DvError("INVALID_ARGUMENT", `--log-level must be one of ${LEVELS.join(", ")}.`);
  return {
    nodes: integer("--nodes", values.nodes, 1, 32),
    port: integer("--port", values.port, 1_024, 65_000),
    dataDir: values.data === undefined ? join(projectDir, ".debvisor") : resolve(values.data),
    projectDir,
    processes: values.processes ?? false,
    respawn: values.respawn ?? false,
    logLevel,
    help: values.help ?? false,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        nodes: { type: "string" },
        port: { type: "string" },
        data: { type: "string" },
        processes: { type: "boolean" },
        respawn: { type: "boolean" },
        "log-level": { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", `${(error as Error).message} See npm start -- --help.`, { cause: error });
  }
}

function integer(flag: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new DvError(
      "INVALID_ARGUMENT",
      `${flag} must be a whole number from ${least} to ${most}, not ${JSON.stringify(text)}.`,
    );
  }
  return value;
}
