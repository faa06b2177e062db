// SPDX-License-Identifier: Apache-2.0
/**
 * The checks of this machine without a cluster (REQUIREMENTS HC-01): prints the health of the host as JSON and ends.
 * `debvisor-health-check` starts it where there is no context, or with `--local`. It talks to no bus and changes nothing.
 */
import { accessSync, constants, existsSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { HealthGroup } from "@debvisor/proto-events/node-agent";
import { NodeRole } from "@debvisor/proto-events/primitives";
import { systemClock } from "@debvisor/shared/clock";
import { loadConfig } from "@debvisor/shared/config";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { nodePaths, readNode } from "@debvisor/shared/node-files";
import { hostLabelOf } from "@debvisor/shared/validate";
import { z } from "zod";
import { type NodeAgentConfig, nodeAgentConfig } from "./config.ts";
import { createHost } from "./host.ts";
import { runHealthCheck } from "./operations/check-health.ts";
import { CONFIG_FOLDER, type HealthDeps } from "./operations/health-deps.ts";

const NODE_DIR = "/var/lib/debvisor";
/** Where `npm start` keeps the nats-server that it fetched. */
const PROJECT_CACHE = fileURLToPath(new URL("../../.cache/nats", import.meta.url));

const Flags = z.strictObject({
  role: NodeRole.optional(),
  quick: z.boolean().default(false),
  only: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(HealthGroup))
    .optional(),
});

/** Who the machine is: what it was set up as, or what it would be. */
interface Self {
  readonly name: string;
  readonly roles: readonly string[];
}

try {
  process.stdout.write(`${JSON.stringify(await run(readFlags(process.argv.slice(2))))}\n`);
} catch (error) {
  const failure = toDvError(error);
  process.stderr.write(`${failure.message}\n`);
  process.exitCode = failure.exitCode;
}

function readFlags(argv: readonly string[]): z.output<typeof Flags> {
  const string = { type: "string" as const };
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { role: string, only: string, quick: { type: "boolean" } },
    });
    return Flags.parse(values);
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? cause.issues[0]?.message : (cause as Error).message;
    throw new DvError("INVALID_ARGUMENT", `preflight: ${reason}`, { cause });
  }
}

async function run({ role, quick, only }: z.output<typeof Flags>) {
  const config = configuration();
  const member = existsSync(nodePaths(NODE_DIR).node);
  const self = whoAmI();
  const stateDir = nodePaths(NODE_DIR).state("node-agent");
  const cacheDir = member ? path.join(NODE_DIR, "cache") : PROJECT_CACHE;
  const deps: HealthDeps = {
    node: { roles: role === undefined ? self.roles : [role], stateDir },
    config,
    clock: systemClock,
    bus: undefined,
    host: createHost({ root: "/", stateDir: cacheDir }, config),
    noState: whyNoState(stateDir, member),
  };
  const request = { quick, ...(only === undefined ? {} : { only }) };
  const health = await runHealthCheck(deps, request, new AbortController().signal);
  return { name: self.name, roles: deps.node.roles, health };
}

/* The operator's settings hold here too; a file that is wrong is named by the group `configuration`. */
function configuration(): NodeAgentConfig {
  try {
    const files = [nodePaths(NODE_DIR).presets("node-agent"), path.join(CONFIG_FOLDER, "node-agent.yaml")];
    return loadConfig(nodeAgentConfig, { service: "node-agent", files }).values;
  } catch {
    return nodeAgentConfig.parse({});
  }
}

/* A machine alone can only become the first server: a worker needs the servers of others. */
function whoAmI(): Self {
  try {
    return readNode(NODE_DIR);
  } catch {
    return { name: hostLabelOf(hostname()), roles: ["server"] };
  }
}

function whyNoState(stateDir: string, member: boolean): string | undefined {
  if (!member) return `Nothing to check: ${NODE_DIR} holds no node yet.`;
  try {
    accessSync(stateDir, constants.R_OK | constants.W_OK | constants.X_OK);
    return undefined;
  } catch {
    return `Not checked: user ${process.getuid?.() ?? 0} may not write to ${stateDir}; run this as root.`;
  }
}
