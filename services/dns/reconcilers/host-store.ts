// SPDX-License-Identifier: Apache-2.0
/**
 * Hosts that are registered, in bucket `dv_dnshosts`: `host.<name>` with what was made for it, and `node.<id>` with why a node is not
 * registered as it should be. Written by compare-and-set; entries of hosts only by the steps of operations.
 */
import { HostKind, HostRecord } from "@debvisor/proto-events/dns-hosts";
import { Actor, OperationId, Timestamp } from "@debvisor/proto-events/primitives";
import type { Bucket, Bus } from "@debvisor/shared/bus/bus";
import { z } from "zod";

/** A registered host. */
export const HostEntry = z.object({
  entry: z.literal("host"),
  host: z.string(),
  kind: HostKind,
  id: z.string().nullable(),
  addresses: z.array(z.string()),
  records: z.array(HostRecord),
  /** The operation that wrote the entry. */
  operation: OperationId,
  at: Timestamp,
  by: Actor,
});
export type HostEntry = z.output<typeof HostEntry>;

/** Why the last attempt for a node failed. */
export const TroubleEntry = z.object({
  entry: z.literal("trouble"),
  node: z.string(),
  host: z.string(),
  code: z.string(),
  message: z.string(),
  since: Timestamp,
});
export type TroubleEntry = z.output<typeof TroubleEntry>;

const Entry = z.discriminatedUnion("entry", [HostEntry, TroubleEntry]);
type Entry = z.output<typeof Entry>;

/** What is there of a host. */
export interface HostLook {
  readonly value: HostEntry | undefined;
  /** Of the entry or of its deletion; 0: it never had one. */
  readonly revision: number;
}

/** The store, on one connection. */
export class HostStore {
  readonly #bus: Pick<Bus, "bucket">;
  #opened: Promise<Bucket<Entry>> | undefined;

  constructor(bus: Pick<Bus, "bucket">) {
    this.#bus = bus;
  }

  /** The entry of a host by its full name, as it is now. @throws BUS_UNAVAILABLE */
  async get(host: string): Promise<HostEntry | undefined> {
    return (await this.look(host)).value;
  }

  /** The same with the revision of what was last written for the host, its deletion too. @throws BUS_UNAVAILABLE */
  async look(host: string): Promise<HostLook> {
    const { revision, entry } = await (await this.#bucket()).look(hostKey(host));
    return { revision, value: entry?.value.entry === "host" ? entry.value : undefined };
  }

  /** Everything. @throws BUS_UNAVAILABLE */
  async all(): Promise<{ readonly hosts: readonly HostEntry[]; readonly troubles: readonly TroubleEntry[] }> {
    const values = (await (await this.#bucket()).list()).map(({ value }) => value);
    return {
      hosts: values.filter((one) => one.entry === "host"),
      troubles: values.filter((one) => one.entry === "trouble"),
    };
  }

  /** Writes or deletes (null) the entry of a host if `revision` is still the last. @throws CONFLICT, BUS_UNAVAILABLE */
  async write(host: string, value: HostEntry | null, revision: number): Promise<void> {
    const bucket = await this.#bucket();
    await (value === null ? bucket.delete(hostKey(host), revision) : bucket.update(hostKey(host), value, revision));
  }

  /** Notes why a node is not registered; null: it is. @throws CONFLICT, BUS_UNAVAILABLE */
  async note(node: string, trouble: TroubleEntry | null): Promise<void> {
    const bucket = await this.#bucket();
    const key = `node.${node}`;
    const last = await bucket.get(key);
    if (trouble === null) await (last ? bucket.delete(key, last.revision) : undefined);
    else await (last ? bucket.update(key, trouble, last.revision) : bucket.create(key, trouble));
  }

  /** Opened once; an attempt that failed is made again. */
  #bucket(): Promise<Bucket<Entry>> {
    this.#opened ??= this.#bus.bucket("dv_dnshosts", Entry).catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}

function hostKey(host: string): string {
  return `host.${host}`;
}
