// SPDX-License-Identifier: Apache-2.0
/**
 * Maintenance as it is stored: bucket dv_maintenance, one entry for each node that ever was in maintenance, and one for the
 * cluster. An entry is never deleted: its fence is what keeps an operation that was overtaken from writing late.
 */
import { Maintenance } from "@debvisor/proto-events/maintenance";
import type { Order } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { MaintenancePicture } from "@debvisor/shared/operation/maintenance-picture";
import { z } from "zod";

/**
 * An entry of the bucket. `eventId`: made once for each change, so that its event is stored once; null when there is nothing to
 * tell. `undone`: the operation that wrote it last has undone its step, and an order of it that comes late does nothing.
 */
export const MaintenanceEntry = z.object({
  fence: z.number().int().nonnegative(),
  operation: z.string().describe("The operation that wrote it last."),
  epoch: z.number().int().nonnegative().default(0).describe("Epoch of that operation's owner."),
  undone: z.boolean().default(false),
  eventId: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .nullable(),
  maintenance: Maintenance.nullable(),
});
export type MaintenanceEntry = z.output<typeof MaintenanceEntry>;

/** Writes that another one came before, in one change; each of them is looked at anew. */
const MOST_WRITES = 5;

/** What a change brings about. */
export interface MaintenanceChange {
  readonly target: string;
  readonly before: Maintenance | null;
  readonly after: Maintenance | null;
  readonly order: Pick<Order, "operation" | "direction" | "epoch" | "fence">;
  readonly eventId: string;
}

/** Reads, watches and changes the bucket. */
export class MaintenanceStore extends MaintenancePicture<MaintenanceEntry> {
  constructor() {
    super(MaintenanceEntry);
  }

  /**
   * Makes a change unless it is made already; answers the id of its event, null when nothing was different. An undo of what
   * never happened leaves its mark all the same, so that it cannot happen later. @throws COMMAND_FENCED when a newer owner or
   * operation has been here, or for a `do` that was undone; CONFLICT when the entry is neither as before nor as after;
   * BUS_UNAVAILABLE
   */
  async change(change: MaintenanceChange): Promise<{ eventId: string | null }> {
    const bucket = this.open();
    const { target } = change;
    for (let writes = 1; ; writes++) {
      const current = await bucket.get(target);
      const step = nextEntry(current?.value, change);
      if ("made" in step) return { eventId: step.made };
      try {
        if (current) await bucket.update(target, step.entry, current.revision);
        else await bucket.create(target, step.entry);
        return { eventId: step.entry.eventId };
      } catch (error) {
        if (toDvError(error).code !== "CONFLICT" || writes === MOST_WRITES) throw error;
      }
    }
  }

  /** Ends maintenance that was over; false when it was changed meanwhile. @throws BUS_UNAVAILABLE */
  async expire(maintenance: Maintenance, eventId: string): Promise<boolean> {
    const bucket = this.open();
    const current = await bucket.get(maintenance.target);
    if (!current || !same(current.value.maintenance, maintenance)) return false;
    await bucket.update(maintenance.target, { ...current.value, eventId, maintenance: null }, current.revision);
    return true;
  }
}

/** What has to be written for a change, or the event of what is written already. @throws COMMAND_FENCED, CONFLICT */
function nextEntry(
  current: MaintenanceEntry | undefined,
  { target, before, after, order, eventId }: MaintenanceChange,
): { readonly entry: MaintenanceEntry } | { readonly made: string | null } {
  const { operation, direction, epoch } = order;
  const fence = order.fence ?? 0;
  const isOwn = current?.operation === operation;
  const undoes = direction === "undo";
  if (current && current.fence > fence)
    throw new DvError("COMMAND_FENCED", `Operation ${current.operation} has changed maintenance of ${target} since.`);
  if (current && isOwn && current.epoch > epoch)
    throw new DvError("COMMAND_FENCED", `Epoch ${epoch} of ${operation} is over; ${target} has seen ${current.epoch}.`);
  if (isOwn && current?.undone && !undoes)
    throw new DvError("COMMAND_FENCED", `${operation} was undone; it is not done again.`);
  const now = current?.maintenance ?? null;
  if (isOwn && same(now, after) && current?.undone === undoes) return { made: current.eventId };
  const base = { fence, operation, epoch, undone: undoes };
  if (undoes && same(now, after) && !same(now, before)) return { entry: { ...base, eventId: null, maintenance: now } };
  if (!same(now, before))
    throw new DvError("CONFLICT", `Maintenance of ${target} was changed meanwhile${now ? ` by ${now.holder}` : ""}.`);
  return { entry: { ...base, eventId, maintenance: after } };
}

/** Equal in what matters; the same operation writes the same. */
export function same(a: Maintenance | null, b: Maintenance | null): boolean {
  if (a === null || b === null) return a === b;
  return a.operation === b.operation && a.until === b.until && a.holder === b.holder && a.reason === b.reason;
}
