// SPDX-License-Identifier: Apache-2.0
/**
 * The worlds in which operations are tortured: for every type how to set up what is there before, and how to see what is really
 * there. `TORTURED` is the list that the repository test compares with the contracts.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { CLUSTER, type Maintenance } from "@debvisor/proto-events/maintenance";
import type { Folded } from "@debvisor/shared/operation/fold";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { MaintenanceEntry } from "../../services/node-agent/reconcilers/maintenance-store.ts";
import { isInstalled } from "../../tools/test-requirements.ts";
import type { TortureBench } from "./operation-torture-bench.ts";
import { changeRecordsWorld, hostWorlds as dnsHostWorlds, lowerTtlWorld } from "./operation-torture-dns.ts";
import { rotateKeysWorld } from "./operation-torture-keys.ts";
import { type LedgerRow, TortureNode, type TortureNodeOptions } from "./operation-torture-node.ts";
import { registryWorlds } from "./operation-torture-registry.ts";

/** What is there, by node id or `cluster`; JSON that can be compared between cases. */
export type Snapshot = Readonly<Record<string, unknown>>;

/** One setting of a world: fresh, as before. */
export interface TortureCase {
  readonly input: Record<string, unknown>;
  snapshot(): Promise<Snapshot>;
  /** The last step of the plan. */
  readonly lastStep: string;
  /** What the ledgers of the nodes have of an operation. */
  ledger(operation: string): readonly LedgerRow[];
  /** Effects that cannot be undone, counted since the beginning of the case; undefined where undoing is possible. */
  effects?(): number;
  /** What is wrong by the world's own rules, where it is neither undone nor done as a whole. */
  wrong?(folded: Folded | undefined): readonly string[];
  settled?(): Promise<void>;
  /** The nodes that are given orders. */
  readonly nodes: readonly TortureNode[];
}

/** How to torture one operation. */
export interface TortureWorld {
  readonly name: string;
  readonly type: string;
  /** Whether its steps can be undone. */
  readonly undoable: boolean;
  /** Whether a step seals those before it; then the case itself says what is wrong. */
  readonly seals?: boolean;
  /** Whether its calls start programs and are slow; then each run of the tests makes a selection of the faults, the soak all. */
  readonly sparing?: boolean;
  /** Only every so many of that selection, where each case takes seconds. */
  readonly every?: number;
  /** Programs without which it cannot be set up. */
  readonly needs?: readonly string[];
  /** Worlds of the same lane share something, so their cases come one after the other. */
  readonly lane: string;
  /** Whether its cases follow each other on the same resource. */
  readonly shares: boolean;
  start(bench: TortureBench): Promise<void>;
  fresh(bench: TortureBench): Promise<TortureCase>;
}

const OLD = "old content\n";
const NEW = Buffer.from("new content\n").toString("base64");

let cases = 0;

/** Every world that can be set up on this machine. */
export function ableWorlds(): readonly TortureWorld[] {
  return allWorlds().filter(({ needs = [] }) => needs.every(isInstalled));
}

/** Every world. */
export function allWorlds(): readonly TortureWorld[] {
  return [
    fileWorld("put-file ×3", "host.put-file", 3),
    fileWorld("remove-file ×3", "host.remove-file", 3),
    ...hostWorlds({}),
    maintenanceWorld("enable", "node"),
    maintenanceWorld("disable", "node"),
    maintenanceWorld("enable", CLUSTER),
    maintenanceWorld("disable", CLUSTER),
    ...registryWorlds(),
    changeRecordsWorld(),
    lowerTtlWorld(),
    ...dnsHostWorlds(),
    rotateKeysWorld(),
  ];
}

/** One world for each operation that gives orders to a node. */
export function hostWorlds(options: TortureNodeOptions): readonly TortureWorld[] {
  return [
    fileWorld("put-file", "host.put-file", 1, options),
    fileWorld("remove-file", "host.remove-file", 1, options),
    restartWorld(options),
    rebootWorld(options),
  ];
}

/** Types of the operations that are tortured. */
export const TORTURED: ReadonlySet<string> = new Set(allWorlds().map(({ type }) => type));

/** Nodes of its own: a node that is being restarted would disturb others. */
async function addNodes(bench: TortureBench, count: number, options: TortureNodeOptions): Promise<TortureNode[]> {
  const nodes: TortureNode[] = [];
  for (let i = 0; i < count; i++) {
    const node = new TortureNode(bench.cluster, `node-${bench.nodes.length + 1}`, options);
    bench.nodes.push(node);
    nodes.push(node);
    await node.start();
  }
  return nodes;
}

function fileWorld(name: string, type: string, count: number, options: TortureNodeOptions = {}): TortureWorld {
  let nodes: TortureNode[] = [];
  return {
    name,
    type,
    undoable: true,
    lane: name,
    shares: false,
    start: async (bench) => {
      nodes = await addNodes(bench, count, options);
    },
    fresh: () => {
      const folder = `etc/case-${++cases}`;
      for (const [index, node] of nodes.entries()) {
        mkdirSync(path.join(node.identity.root, folder));
        // Of several nodes one has no file yet.
        if (type === "host.put-file" && index === 1) continue;
        writeFileSync(path.join(node.identity.root, folder, "motd"), OLD, { mode: index === 0 ? 0o640 : 0o644 });
      }
      const selection = nodes.map((node) => node.name).join(",");
      const file = `/${folder}/motd`;
      return Promise.resolve({
        input:
          type === "host.put-file"
            ? { nodes: selection, to: file, contentBase64: NEW }
            : { nodes: selection, path: file },
        snapshot: () => Promise.resolve(Object.fromEntries(nodes.map((node) => [node.id, node.folder(folder)]))),
        nodes,
        settled: async () => {
          for (const node of nodes) await node.settled();
        },
        lastStep: `file-${nodes.at(-1)?.id}`,
        ledger: (operation: string) => nodes.flatMap((node) => node.ledger(operation)),
      });
    },
  };
}

function restartWorld(options: TortureNodeOptions): TortureWorld {
  let node: TortureNode;
  return {
    name: "restart-service",
    type: "host.restart-service",
    undoable: false,
    lane: "restart-service",
    shares: true,
    start: async (bench) => {
      [node] = (await addNodes(bench, 1, options)) as [TortureNode];
    },
    fresh: () => {
      const unit = node.addUnit();
      const count = () => node.restarts(unit);
      return Promise.resolve({
        input: { node: node.name, unit },
        snapshot: () => Promise.resolve({ [node.id]: `started anew ${count()} times` }),
        nodes: [node],
        settled: () => node.settled(),
        lastStep: "restart",
        ledger: (operation: string) => node.ledger(operation),
        effects: count,
      });
    },
  };
}

function rebootWorld(options: TortureNodeOptions): TortureWorld {
  let node: TortureNode;
  return {
    name: "reboot-nodes",
    type: "host.reboot-nodes",
    undoable: false,
    lane: "reboot-nodes",
    shares: true,
    start: async (bench) => {
      [node] = (await addNodes(bench, 1, options)) as [TortureNode];
    },
    fresh: async () => {
      await node.settled();
      const from = node.boots;
      const count = () => node.boots - from;
      return {
        input: { nodes: node.name, back: "20s" },
        snapshot: async () => {
          await node.settled();
          return { [node.id]: `started anew ${count()} times` };
        },
        nodes: [node],
        lastStep: `reboot-${node.id}`,
        ledger: (operation: string) => node.ledger(operation),
        effects: count,
        settled: () => node.settled(),
      };
    },
  };
}

function maintenanceWorld(verb: "enable" | "disable", scope: "node" | typeof CLUSTER): TortureWorld {
  return {
    name: `${verb} ${scope}`,
    type: `maintenance.${verb}-maintenance`,
    undoable: true,
    lane: scope === CLUSTER ? CLUSTER : `${verb} ${scope}`,
    shares: scope === CLUSTER,
    start: () => Promise.resolve(),
    fresh: async (bench) => {
      const node = scope === CLUSTER ? undefined : bench.newName();
      const target = node?.id ?? CLUSTER;
      const name = node?.name ?? CLUSTER;
      await putMaintenance(bench, target, name, verb === "disable");
      const where = node ? { node: node.name } : { cluster: true };
      return {
        input: verb === "enable" ? { ...where, reason: "torture", until: "2h" } : where,
        snapshot: async () => ({ [target]: await maintenanceOf(bench, target) }),
        nodes: [],
        lastStep: "mode",
        ledger: () => [],
      };
    },
  };
}

async function putMaintenance(bench: TortureBench, target: string, name: string, held: boolean): Promise<void> {
  const bucket = await bench.bus.bucket("dv_maintenance", MaintenanceEntry);
  const current = await bucket.get(target);
  const operation = newOperationId() as Maintenance["operation"];
  const maintenance: Maintenance = {
    target,
    name,
    holder: "tester",
    user: null,
    reason: "as before",
    operation,
    since: new Date().toISOString(),
    until: null,
  };
  const entry = MaintenanceEntry.parse({
    fence: current?.value.fence ?? 0,
    operation,
    eventId: randomUUID().replaceAll("-", ""),
    maintenance: held ? maintenance : null,
  });
  if (current) await bucket.update(target, entry, current.revision);
  else if (held) await bucket.create(target, entry);
}

async function maintenanceOf(bench: TortureBench, target: string): Promise<unknown> {
  const bucket = await bench.bus.bucket("dv_maintenance", MaintenanceEntry);
  const maintenance = (await bucket.get(target))?.value.maintenance;
  return maintenance
    ? { holder: maintenance.holder, reason: maintenance.reason, ends: maintenance.until !== null }
    : null;
}
