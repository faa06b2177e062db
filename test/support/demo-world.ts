// SPDX-License-Identifier: Apache-2.0
/**
 * The world that a run of the demo changes, looked at without the product's help: files in the nodes' roots, and what each
 * node's supervisor says of its services and of its boot.
 */
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { SupervisorReply, type SupervisorState, supervisorSocket } from "@debvisor/shared/drivers/lab-supervisor";
import type { LabNodeStatus, LocalCluster } from "./local-cluster.ts";

const ANSWER_MS = 3_000;
const LOOK_EVERY_MS = 100;
const BACKUP = /^(.+)\.dv-backup-\d{8}T\d{6}Z-[a-z0-9-]{1,20}$/;

/** Content of a file by the name of its node; null: there is none. */
export type Contents = Readonly<Record<string, string | null>>;

/** Root folders by the names of the nodes. */
export function rootsOf(lab: LocalCluster, nodes: readonly LabNodeStatus[]): ReadonlyMap<string, string> {
  return new Map(nodes.map(({ id, name }) => [name, path.join(lab.dataDir, "nodes", id, "root")]));
}

/** How a file is on each of the named nodes. */
export function contentsOf(roots: ReadonlyMap<string, string>, file: string, names: Iterable<string>): Contents {
  return Object.fromEntries([...names].map((name) => [name, contentOf(path.join(roots.get(name) ?? "", file))]));
}

function contentOf(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
}

/** What is wrong with the files below a root: drafts that were left behind, more backups than are kept, strangers. */
export function litterBelow(root: string, mayBeThere: (file: string) => boolean): readonly string[] {
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => ({ folder: `/${path.relative(root, parentPath)}`, name }));
  const backups = new Map<string, number>();
  const problems: string[] = [];
  for (const { folder, name } of files) {
    const original = BACKUP.exec(name)?.[1];
    const file = path.join(folder, original ?? name);
    if (original !== undefined) backups.set(file, (backups.get(file) ?? 0) + 1);
    if (!mayBeThere(file)) problems.push(`left behind: ${path.join(folder, name)}`);
  }
  for (const [file, count] of backups) if (count > 30) problems.push(`${count} backups of ${file}`);
  return problems;
}

/** Asks a socket of the lab: one JSON line there, one back. */
export function askSocket(socketPath: string, request: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(socketPath, () => socket.write(`${JSON.stringify(request)}\n`));
    socket.setEncoding("utf8").setTimeout(ANSWER_MS, () => socket.destroy(new Error("no answer")));
    socket.on("data", (chunk: string) => (text += chunk));
    socket.once("error", reject);
    socket.once("close", () => {
      try {
        resolve(JSON.parse(text));
      } catch (error) {
        reject(error);
      }
    });
  });
}

/** How the launcher sees its nodes. */
export async function labNodes(lab: LocalCluster): Promise<readonly LabNodeStatus[]> {
  return ((await askLauncher(lab, { command: "status" })) as { nodes: readonly LabNodeStatus[] }).nodes;
}

/** Has the launcher do something to a node, or say how all are. */
export async function askLauncher(
  lab: LocalCluster,
  request: { readonly command: "status" | "start" | "kill"; readonly node?: string },
): Promise<unknown> {
  const reply = (await askSocket(path.join(lab.dataDir, "lab.sock"), request)) as { ok: boolean; data: unknown };
  if (!reply.ok) throw new Error(`the launcher: ${JSON.stringify(reply)}`);
  return reply.data;
}

/** How a node's supervisor sees it; undefined while none answers. */
export async function supervised(lab: LocalCluster, id: string): Promise<SupervisorState | undefined> {
  try {
    const socket = supervisorSocket(path.join(lab.dataDir, "nodes", id));
    const reply = SupervisorReply.parse(await askSocket(socket, { command: "boot" }));
    return reply.ok ? reply.data : undefined;
  } catch {
    return undefined;
  }
}

/** A service that was started anew within one boot, or a node that was. */
export interface Restart {
  readonly node: string;
  /** Undefined: the node itself. */
  readonly unit: string | undefined;
  /** Invocation or boot id before. */
  readonly from: string;
  readonly atMs: number;
}

/** Looks at the supervisors all the time, so that no new invocation is missed: starting one takes longer than a look. */
export class RestartWatch {
  readonly restarts: Restart[] = [];
  readonly #lab: LocalCluster;
  readonly #nodes: readonly LabNodeStatus[];
  readonly #boots = new Map<string, string>();
  readonly #invocations = new Map<string, string>();
  readonly #done: Promise<unknown>;
  #running = true;

  constructor(lab: LocalCluster, nodes: readonly LabNodeStatus[]) {
    this.#lab = lab;
    this.#nodes = nodes;
    this.#done = this.#run();
  }

  /** Current invocation of a service, as far as it has been seen. */
  invocation(node: string, unit: string): string | undefined {
    return this.#invocations.get(`${node}/${unit}`);
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (this.#running) {
      await Promise.all(this.#nodes.map((node) => this.#look(node)));
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  async #look({ id, name: node }: LabNodeStatus): Promise<void> {
    const state = await supervised(this.#lab, id);
    if (state === undefined) return;
    const boot = this.#boots.get(node);
    this.#boots.set(node, state.bootId);
    const sameBoot = boot === state.bootId;
    if (boot !== undefined && !sameBoot) this.restarts.push({ node, unit: undefined, from: boot, atMs: Date.now() });
    for (const { name: unit, invocation } of state.units) {
      if (invocation === null) continue;
      const key = `${node}/${unit}`;
      const before = this.#invocations.get(key);
      this.#invocations.set(key, invocation);
      if (sameBoot && before !== undefined && before !== invocation)
        this.restarts.push({ node, unit, from: before, atMs: Date.now() });
    }
  }
}
