// SPDX-License-Identifier: Apache-2.0
/** The step that remembers what a registration made, or forgets it. Entries say which operation wrote them: that is their version. */
import { dnsContract } from "@debvisor/proto-events/dns";
import type { DnsHost } from "@debvisor/proto-events/dns-hosts";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { StepContext, StepKind } from "@debvisor/shared/operation/definition";
import type { HostEntry, HostStore } from "../reconcilers/host-store.ts";
import type { OrderGuard } from "../reconcilers/order-guard.ts";
import { eventId } from "./update-zone.ts";

/** What is remembered of a host besides who did it and when. */
export type HostFact = Pick<DnsHost, "kind" | "id" | "addresses" | "records">;

/** Parameters of the step; null: it is not registered. */
export interface RememberParams {
  readonly host: string;
  readonly before: HostEntry | null;
  readonly after: HostFact | null;
}

/** What the step works with. */
export interface RememberDeps {
  readonly hosts: HostStore;
  readonly guard: OrderGuard;
  readonly bus: Bus;
}

const TIMEOUT_MS = 10_000;
const MAX_TRIES = 8;

/** The step. */
export function rememberHostStep(deps: RememberDeps): StepKind<RememberParams> {
  return {
    timeoutMs: TIMEOUT_MS,
    do: (params, context) => turn(deps, params, context, params.before, entryOf(params, context)),
    undo: (params, context) => turn(deps, params, context, entryOf(params, context), params.before),
    inspect: async (params, context) => {
      const found = await deps.hosts.get(params.host);
      if (is(found, entryOf(params, context))) return "after";
      return is(found, params.before) ? "before" : "unclear";
    },
  };
}

/** The entry as this operation writes it. */
function entryOf({ host, after }: RememberParams, { submission }: StepContext): HostEntry | null {
  const { id, createdAt, actor } = submission;
  return after && { entry: "host", host, ...after, operation: id as HostEntry["operation"], at: createdAt, by: actor };
}

function is(found: HostEntry | undefined, wanted: HostEntry | null): boolean {
  return found?.operation === wanted?.operation;
}

/**
 * Turns the entry from one to the other, however often it is asked to. What is undone is written also where it stands already: a
 * `do` that passed the guard and has not written yet then finds another revision. @throws CONFLICT when it is neither, COMMAND_FENCED
 */
async function turn(
  deps: RememberDeps,
  { host }: RememberParams,
  context: StepContext,
  from: HostEntry | null,
  to: HostEntry | null,
): Promise<void> {
  const { order, clock } = context;
  for (let tries = 0; ; tries++) {
    const { value: found, revision } = await deps.hosts.look(host);
    await deps.guard.pass(order, clock);
    if (!is(found, to)) requireFormer(host, from, found);
    else if (order.direction === "do") break;
    const error = await deps.hosts.write(host, to, revision).then(() => undefined, toDvError);
    if (!error) break;
    // Somebody else's write, or our own whose answer was lost; the next look says which.
    if (error.code !== "CONFLICT" || tries >= MAX_TRIES) throw error;
  }
  const told = to ?? from;
  if (told) await tell(deps.bus, told, to ? "host.registered" : "host.deregistered", context);
}

/** @throws CONFLICT */
function requireFormer(host: string, expected: HostEntry | null, found: HostEntry | undefined): void {
  if (is(found, expected)) return;
  throw new DvError("CONFLICT", `${host} was registered by ${found?.operation ?? "nobody"} meanwhile.`, {
    details: { host, expected: expected?.operation ?? null, found: found?.operation ?? null },
  });
}

async function tell(
  bus: Bus,
  { host, kind, id, addresses, records }: HostEntry,
  event: "host.registered" | "host.deregistered",
  context: StepContext,
): Promise<void> {
  const { order, submission } = context;
  const { actor } = submission;
  const operation = submission.id as HostEntry["operation"];
  await bus.publishEvent(
    dnsContract,
    event,
    { host, kind, id, addresses, records, operation, actor },
    { subject: host, id: eventId(context, order.direction, event), actor },
  );
}
