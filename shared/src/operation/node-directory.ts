// SPDX-License-Identifier: Apache-2.0
/** The node registry in memory, for planning: follows bucket dv_nodes. Also freezes the targets of a selection. */
import { NodeEntry } from "@debvisor/proto-events/discovery";
import type { Bucket, Bus, Closable } from "../bus/bus.ts";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { parseSelection, selectNodes } from "../node-selection.ts";
import type { TargetNode } from "./definition.ts";
import type { Directory } from "./reader.ts";

/** Longest wait for a replica that lags. */
const SETTLE_MS = 3_000;
const byName = new Intl.Collator("en", { numeric: true });

/** Follows the registry until stopped. */
export class RegistryDirectory implements Directory, Closable {
  readonly #nodes = new Map<string, TargetNode>();
  #ordered: readonly TargetNode[] | undefined;
  #bucket: Bucket<NodeEntry> | undefined;
  #watch: Closable | undefined;
  #read = false;
  /** Revision up to which the bucket has been read. */
  #seen = 0;

  /** @throws BUS_UNAVAILABLE */
  async start(bus: Pick<Bus, "bucket">): Promise<void> {
    const bucket = await bus.bucket("dv_nodes", NodeEntry);
    this.#bucket = bucket;
    this.#watch = await bucket.watch(
      ({ key, entry, revision }) => {
        this.#seen = Math.max(this.#seen, revision);
        if (entry && !entry.value.deleted) this.#nodes.set(key, entry.value);
        else this.#nodes.delete(key);
        this.#ordered = undefined;
      },
      () => {
        this.#read = true;
      },
    );
  }

  /** True once the registered nodes are known. This node is one of them: an empty picture is one of a replica that lags. */
  get loaded(): boolean {
    return this.#read && this.#nodes.size > 0;
  }

  /** Nodes by name, numbers in them by value. */
  list(): readonly TargetNode[] {
    this.#ordered ??= [...this.#nodes.values()].sort((a, b) => byName.compare(a.name, b.name));
    return this.#ordered;
  }

  /** The watch may read from a replica that lags; its leader says how far the bucket has come. @throws UNAVAILABLE */
  async settle(): Promise<void> {
    const wanted = await this.#bucket?.lastRevision();
    const deadline = systemClock.monotonic() + SETTLE_MS;
    while (wanted === undefined || this.#seen < wanted) {
      if (systemClock.monotonic() > deadline || wanted === undefined)
        throw new DvError("UNAVAILABLE", "The node registry is still being read here; try again in a moment.");
      await systemClock.sleep(20);
    }
  }

  async stop(): Promise<void> {
    await this.#watch?.stop();
  }
}

/** The nodes that a selection means. Empty is an error, and "all" has to be said. @throws INVALID_ARGUMENT, NODE_NOT_FOUND, NO_TARGETS */
export function selectTargets(text: string, nodes: readonly TargetNode[]): readonly TargetNode[] {
  const selection = parseSelection(text);
  if (selection.kind === "fault")
    throw new DvError("INVALID_ARGUMENT", `nodes: ${selection.message}`, { details: { field: "nodes" } });
  const selected = selectNodes(selection, nodes);
  if (selected.unknown.length > 0)
    throw new DvError("NODE_NOT_FOUND", `No node is called ${selected.unknown.join(", ")}; nothing was changed.`, {
      details: { nodes: selected.unknown },
    });
  if (selected.nodes.length === 0)
    throw new DvError("NO_TARGETS", `The selection ${JSON.stringify(text)} matches no node; nothing was changed.`);
  return selected.nodes;
}
