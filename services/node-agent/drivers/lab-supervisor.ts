// SPDX-License-Identifier: Apache-2.0
/** The supervisor of a node of the local cluster, on a socket in the node's folder; the part of systemd there (DESIGN.md 8a). */
import { connect } from "node:net";
import {
  SupervisorReply,
  type SupervisorRequest,
  type SupervisorState,
  supervisorSocket,
} from "@debvisor/shared/drivers/lab-supervisor";
import { DvError, fromWire } from "@debvisor/shared/errors";
import { type ServiceManager, serviceNameOf, type Unit } from "../model/unit-state.ts";

const TIMEOUT_MS = 3_000;
const MAX_REPLY = 64 * 1024;

/** Talks to the supervisor of the node whose folder this is. */
export function createLabSupervisor(nodeDir: string): ServiceManager {
  const ask = (request: SupervisorRequest, signal?: AbortSignal) => exchange(nodeDir, request, signal);
  const known = async (unit: string, signal?: AbortSignal): Promise<Unit> => {
    const { units } = await ask({ command: "boot" }, signal);
    const found = units.find(({ name }) => name === serviceNameOf(unit));
    if (found) return found;
    const names = units.map(({ name }) => name);
    throw new DvError("UNIT_NOT_MANAGED", `${unit} is none of this node's services, which are ${names.join(", ")}.`, {
      details: { unit, units: names },
    });
  };
  return {
    list: async (signal) => (await ask({ command: "boot" }, signal)).units,
    get: known,
    restart: async (unit, signal) => {
      const { name } = await known(unit, signal);
      await ask({ command: "restart", unit: name }, signal);
    },
    boot: async (signal) => {
      const { bootId, startedAt, rebootable } = await ask({ command: "boot" }, signal);
      return { bootId, startedAt, rebootable };
    },
    reboot: async (signal) => {
      await ask({ command: "reboot" }, signal);
    },
  };
}

async function exchange(nodeDir: string, request: SupervisorRequest, signal?: AbortSignal): Promise<SupervisorState> {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const text = await talk(
    supervisorSocket(nodeDir),
    `${JSON.stringify(request)}\n`,
    signal ? AbortSignal.any([signal, limit]) : limit,
  ).catch((cause: unknown) => {
    throw new DvError("TOOL_FAILED", "The supervisor of this node does not answer.", { cause });
  });
  const reply = SupervisorReply.safeParse(jsonOf(text));
  if (!reply.success)
    throw new DvError("TOOL_FAILED", "The supervisor of this node answers with something else than a reply.", {
      cause: reply.error,
    });
  if (!reply.data.ok) throw fromWire(reply.data.error);
  return reply.data.data;
}

/** Sends a line and reads until the other side ends. Rejects when the signal aborts. */
function talk(path: string, line: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(new Error("aborted"));
      return;
    }
    const socket = connect({ path });
    const onAbort = () => socket.destroy(new Error("no answer in time"));
    signal.addEventListener("abort", onAbort, { once: true });
    let text = "";
    socket.setEncoding("utf8");
    socket.once("connect", () => socket.write(line));
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > MAX_REPLY) socket.destroy(new Error("the answer is too long"));
    });
    socket.once("end", () => resolve(text));
    socket.once("error", reject);
    socket.once("close", () => {
      signal.removeEventListener("abort", onAbort);
      reject(new Error("the connection was closed"));
    });
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
