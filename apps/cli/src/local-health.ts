// SPDX-License-Identifier: Apache-2.0
/**
 * The pre-flight of this machine (REQUIREMENTS HC-01): runs the node agent's own checks in a process of their own, because a
 * command may not reach into a service, and reads what it prints.
 */
import { fileURLToPath } from "node:url";
import { Health } from "@debvisor/proto-events/node-agent";
import { DvError } from "@debvisor/shared/errors";
import { execChecked } from "@debvisor/shared/exec";
import { requireFile } from "@debvisor/shared/validate";
import { z } from "zod";
import type { Call } from "./command.ts";
import type { Outcome } from "./fan-out.ts";

const PROGRAM = fileURLToPath(new URL("../../../services/node-agent/preflight.ts", import.meta.url));
/** The checks have their own limit of at most 29 s. */
const LIMIT_MS = 35_000;
/** Variables that the node agent would see as well. */
const PASSED_ON = /^(NATS_SERVER|NODE_COMPILE_CACHE|DV_NODE_AGENT_\w+)$/;

const Printed = z.object({ name: z.string(), roles: z.array(z.string()), health: Health });

/** What to check. */
export interface LocalRequest {
  readonly role?: string | undefined;
  readonly quick?: boolean | undefined;
  readonly only?: readonly string[] | undefined;
}

/** The health of this machine in the shape of a question to one node. */
export interface LocalHealth {
  readonly roles: readonly string[];
  readonly outcome: Outcome;
}

/** Checks this machine. @throws NOT_FOUND where the node agent is not installed, TOOL_FAILED, MALFORMED_REPLY */
export async function checkThisMachine(
  request: LocalRequest,
  { env, signal, output }: Pick<Call, "env" | "signal" | "output">,
): Promise<LocalHealth> {
  await requireFile(PROGRAM);
  const args = [PROGRAM, ...flagsOf(request)];
  const ran = await execChecked(process.execPath, args, { timeoutMs: LIMIT_MS, signal, env: passedOn(env) });
  output.debug(`${ran.commandLine}: exit status ${ran.exitCode ?? "-"} in ${Math.round(ran.ms)} ms`);
  const printed = Printed.safeParse(parse(ran.stdout));
  if (!printed.success) {
    throw new DvError("MALFORMED_REPLY", `${PROGRAM} printed something else than health`, { cause: printed.error });
  }
  const { name, roles, health } = printed.data;
  const counts = { failed: 0, refused: 0, unreachable: 0, timedOut: 0, skipped: 0 };
  return {
    roles,
    outcome: {
      census: { total: 1, digest: "", ok: 1, ...counts },
      results: [{ node: "", name, status: "ok", ms: Math.round(ran.ms), data: health }],
    },
  };
}

function flagsOf({ role, quick, only }: LocalRequest): readonly string[] {
  return [
    ...(role === undefined ? [] : [`--role=${role}`]),
    ...(quick === true ? ["--quick"] : []),
    ...(only === undefined ? [] : [`--only=${only.join(",")}`]),
  ];
}

function passedOn(env: Call["env"]): Record<string, string> {
  const named = Object.entries(env).filter(([name]) => PASSED_ON.test(name));
  return Object.fromEntries(named.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
