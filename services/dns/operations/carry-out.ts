// SPDX-License-Identifier: Apache-2.0
/** Registers and deregisters nodes in the service's own name: the same operations as anybody's, followed to their end. */
import { randomUUID } from "node:crypto";
import { dnsContract } from "@debvisor/proto-events/dns";
import { FINAL_STATES, type Operation } from "@debvisor/proto-events/durable";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { OperationHost } from "@debvisor/shared/operation/operation-host";
import type { HostTask } from "../model/node-hosts.ts";

export interface CarryOutDeps {
  readonly host: Pick<OperationHost, "handler" | "get">;
  readonly clock: Clock;
  readonly log: Logger;
}

const LOOK_MS = 250;
/** Longest time that an operation is followed. */
const END_MS = 120_000;

/** Carries a task out. The function that it returns throws the operation's error unless it succeeded. */
export function carryOut({ host, clock, log }: CarryOutDeps) {
  const { registerHost, deregisterHost } = dnsContract.operations;
  return async ({ verb, node, host: name, addresses }: HostTask, signal: AbortSignal): Promise<void> => {
    const input =
      verb === "register"
        ? registerHost.input.parse({ host: name, addresses, kind: "node", id: node })
        : deregisterHost.input.parse({ host: name, id: node });
    const accepted = await host.handler(`dns.${verb}-host`)(input, contextOf(signal, log));
    const end = await follow(accepted, { host, clock }, signal);
    if (end.state === "succeeded") return;
    const { code = "STEP_FAILED", message = `it is ${end.state}` } = end.error ?? {};
    throw new DvError(code as never, `${end.id}: ${message}`);
  };
}

async function follow(
  accepted: Operation,
  { host, clock }: Pick<CarryOutDeps, "host" | "clock">,
  signal: AbortSignal,
): Promise<Operation> {
  const { id } = accepted;
  const deadline = clock.monotonic() + END_MS;
  for (let operation = accepted; ; ) {
    if (FINAL_STATES.has(operation.state) || operation.state === "stuck" || id === null) return operation;
    if (clock.monotonic() > deadline) throw new DvError("TIMEOUT", `${id} goes on for longer than expected.`);
    await clock.sleep(LOOK_MS, signal);
    signal.throwIfAborted();
    operation = await host.get(id);
  }
}

function contextOf(signal: AbortSignal, log: Logger): RequestContext {
  return {
    ...{ requestId: randomUUID(), actor: "system", user: undefined, source: undefined, traceId: undefined },
    ...{ operation: undefined, order: undefined, signal, log },
  };
}
