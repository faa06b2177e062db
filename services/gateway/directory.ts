// SPDX-License-Identifier: Apache-2.0
/**
 * The node registry, in memory, for choosing the targets of a fan-out. It follows bucket dv_nodes; the liveness in it is the
 * projector's. Target sets are remembered by the text of the selection until the registry changes, so that asking the same
 * nodes again costs one look-up, whether that is one node or ten thousand.
 */
import type { NodeEntry } from "@debvisor/proto-events/discovery";
import type { Bucket, BucketChange, Closable } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { parseSelection, selectNodes } from "@debvisor/shared/node-selection";
import { digestOf } from "./model/census.ts";

/** A target of a fan-out. */
export interface Target {
  readonly id: string;
  readonly name: string;
}

/** The frozen targets of a fan-out. Disabled nodes are counted but not asked. */
export interface TargetSet {
  readonly total: number;
  readonly digest: string;
  /** Ids to ask, in the order of their names. */
  readonly ask: readonly string[];
  readonly skipped: readonly Target[];
  readonly names: ReadonlyMap<string, string>;
}

const MAX_REMEMBERED = 1_000;

export class NodeDirectory {
  readonly #nodes = new Map<string, NodeEntry>();
  readonly #sets = new Map<string, TargetSet>();
  #ordered: readonly NodeEntry[] | undefined;
  #watch: Closable | undefined;
  /** True once every registered node is known. */
  loaded = false;

  /** Starts to follow the registry. @throws BUS_UNAVAILABLE */
  async start(bucket: Bucket<NodeEntry>): Promise<void> {
    this.#watch = await bucket.watch(
      (change) => this.apply(change),
      () => {
        this.loaded = true;
      },
    );
  }

  async stop(): Promise<void> {
    await this.#watch?.stop();
  }

  /** Takes one change over. */
  apply({ key, entry }: BucketChange<NodeEntry>): void {
    if (entry && !entry.value.deleted) this.#nodes.set(key, entry.value);
    else this.#nodes.delete(key);
    this.#ordered = undefined;
    this.#sets.clear();
  }

  /** Every node in the order of names, numbers in them by value: node-2 before node-10. */
  list(): readonly NodeEntry[] {
    this.#ordered ??= [...this.#nodes.values()].sort((a, b) => byName.compare(a.name, b.name));
    return this.#ordered;
  }

  /** A node by id or name. */
  find(ref: string): NodeEntry | undefined {
    return this.#nodes.get(ref) ?? this.list().find((node) => node.name === ref);
  }

  /** Freezes the targets of a selection. @throws INVALID_ARGUMENT, NODE_NOT_FOUND, NO_TARGETS */
  select(text: string): TargetSet {
    const known = this.#sets.get(text);
    if (known) return known;
    const selection = parseSelection(text);
    if (selection.kind === "fault")
      throw new DvError("INVALID_ARGUMENT", `nodes: ${selection.message}`, { details: { field: "nodes" } });
    const { nodes, unknown } = selectNodes(selection, this.list());
    if (nodes.length === 0) throw new DvError("NO_TARGETS", `The selection ${JSON.stringify(text)} matches no node.`);
    if (unknown.length > 0)
      throw new DvError("NODE_NOT_FOUND", `No node is called ${unknown.join(", ")}; nobody was asked.`, {
        details: { nodes: unknown },
      });
    const set = freeze(nodes);
    if (this.#sets.size >= MAX_REMEMBERED) this.#sets.clear();
    this.#sets.set(text, set);
    return set;
  }
}

const byName = new Intl.Collator("en", { numeric: true });

function freeze(nodes: readonly NodeEntry[]): TargetSet {
  const active = nodes.filter((node) => node.state !== "disabled");
  const skipped = nodes.filter((node) => node.state === "disabled").map(({ id, name }) => ({ id, name }));
  return {
    total: nodes.length,
    digest: digestOf(nodes.map((node) => node.id)),
    ask: active.map((node) => node.id),
    skipped,
    names: new Map(nodes.map(({ id, name }) => [id, name])),
  };
}
