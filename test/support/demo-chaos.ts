// SPDX-License-Identifier: Apache-2.0
/** Ends random processes of a local cluster with SIGKILL: services, nats-servers, and now and then a node as a whole. */
import { askLauncher, labNodes, type RestartWatch } from "./demo-world.ts";
import type { LabNodeStatus, LocalCluster } from "./local-cluster.ts";
import { pick, type RandomNumbers } from "./seeded.ts";

const NATS = "nats-server";
const NODE = "node";

/** What was ended. */
export interface Kill {
  readonly node: string;
  /** A service, `nats-server`, or `node` for all of it. */
  readonly part: string;
  readonly atMs: number;
  /** Invocation of the service that ended. */
  readonly invocation: string | undefined;
}

/** Kills until stopped; every node runs then. */
export class Chaos {
  readonly kills: Kill[] = [];
  /** Parts (`node-1/gateway`, `node-1/node`) that are left alone, because their restarts are being counted. */
  readonly spared = new Set<string>();
  readonly #lab: LocalCluster;
  readonly #watch: RestartWatch;
  readonly #random: RandomNumbers;
  readonly #done: Promise<void>;
  #running = true;
  #storeKilledMs = 0;

  readonly #storeRestMs: number;

  /** `storeRestMs`: time that a server gets to start and to catch up before the next one is killed. */
  constructor(lab: LocalCluster, watch: RestartWatch, random: RandomNumbers, storeRestMs = 6_000) {
    this.#storeRestMs = storeRestMs;
    this.#lab = lab;
    this.#watch = watch;
    this.#random = random;
    this.#done = this.#run();
    this.#done.catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (this.#running) {
      await this.#pause(300 + this.#random(2_200));
      if (this.#running) await this.#one();
    }
  }

  async #pause(ms: number): Promise<void> {
    const until = performance.now() + ms;
    while (this.#running && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
  }

  /** One server at a time loses its store: two of three would be a loss of the majority, which is another test. */
  get #storesRest(): boolean {
    const reboots = [...this.spared].some((part) => part.endsWith(`/${NODE}`));
    return !reboots && Date.now() - this.#storeKilledMs > this.#storeRestMs;
  }

  async #one(): Promise<void> {
    const node = pick(this.#random, await labNodes(this.#lab));
    const dice = this.#random(20);
    // Between two boots.
    if (node.services.length === 0) return;
    const service = pick(this.#random, node.services).name;
    const part = dice >= 6 || !this.#storesRest ? service : dice < 3 ? NODE : NATS;
    if (this.spared.has(`${node.name}/${part}`)) return;
    const invocation = this.#watch.invocation(node.name, part);
    if (part === NODE) return await this.#whole(node);
    const pid = part === NATS ? node.natsPid : node.services.find(({ name }) => name === part)?.pid;
    // Down already.
    if (pid === null || pid === undefined) return;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      return;
    }
    if (part === NATS) this.#storeKilledMs = Date.now();
    this.kills.push({ node: node.name, part, atMs: Date.now(), invocation });
  }

  async #whole({ name }: LabNodeStatus): Promise<void> {
    this.kills.push({ node: name, part: NODE, atMs: Date.now(), invocation: undefined });
    await askLauncher(this.#lab, { command: "kill", node: name });
    await this.#pause(500 + this.#random(2_500));
    await askLauncher(this.#lab, { command: "start", node: name });
    this.#storeKilledMs = Date.now();
  }
}
