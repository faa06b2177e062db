// SPDX-License-Identifier: Apache-2.0
/** Maintenance as every engine has to know it: reads and follows bucket dv_maintenance, which the node agent alone writes. */
import { CLUSTER, Maintenance } from "@debvisor/proto-events/maintenance";
import { z } from "zod";
import type { Bucket, Bus, Closable } from "../bus/bus.ts";
import { DvError } from "../errors.ts";

/** What whoever only reads needs of an entry. */
export const MaintenanceHeld = z.object({ maintenance: Maintenance.nullable() });
export type MaintenanceHeld = z.output<typeof MaintenanceHeld>;

/** More targets than this are looked up in the picture that the watch keeps, fewer in the bucket itself. */
const MOST_READS = 20;

/** Reads and watches the bucket. */
export class MaintenancePicture<E extends MaintenanceHeld = MaintenanceHeld> implements Closable {
  readonly #schema: z.ZodType<E>;
  readonly #picture = new Map<string, Maintenance>();
  #bucket: Bucket<E> | undefined;
  #watch: Closable | undefined;
  /** True once every entry is known. */
  loaded = false;

  constructor(schema: z.ZodType<E>) {
    this.#schema = schema;
  }

  /** @throws BUS_UNAVAILABLE */
  async start(bus: Pick<Bus, "bucket">): Promise<void> {
    const bucket = await bus.bucket("dv_maintenance", this.#schema);
    this.#bucket = bucket;
    this.#watch = await bucket.watch(
      ({ key, entry }) => {
        const maintenance = entry?.value.maintenance;
        if (maintenance) this.#picture.set(key, maintenance);
        else this.#picture.delete(key);
      },
      () => {
        this.loaded = true;
      },
    );
  }

  async stop(): Promise<void> {
    await this.#watch?.stop();
  }

  /** Everything that is in maintenance, as last seen; the cluster first. */
  list(): readonly Maintenance[] {
    const first = ({ target }: Maintenance) => (target === CLUSTER ? 0 : 1);
    return [...this.#picture.values()].sort((a, b) => first(a) - first(b) || (a.name < b.name ? -1 : 1));
  }

  /** Maintenance of one target now. @throws BUS_UNAVAILABLE */
  async get(target: string): Promise<Maintenance | null> {
    return (await this.open().get(target))?.value.maintenance ?? null;
  }

  /** Maintenance of any of the targets, or of the cluster. @throws BUS_UNAVAILABLE */
  async of(targets: readonly string[]): Promise<readonly Maintenance[]> {
    const keys = [...new Set([CLUSTER, ...targets])];
    if (keys.length > MOST_READS) return keys.flatMap((key) => this.#picture.get(key) ?? []);
    const found = await Promise.all(keys.map((key) => this.get(key)));
    return found.filter((entry) => entry !== null);
  }

  /** The bucket. @throws UNAVAILABLE before the start */
  protected open(): Bucket<E> {
    if (!this.#bucket) throw new DvError("UNAVAILABLE", "Maintenance cannot be read yet.");
    return this.#bucket;
  }
}
