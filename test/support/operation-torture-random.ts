// SPDX-License-Identifier: Apache-2.0
/** Operations under random deaths: engines with real leases, some killed and replaced, the message bus killed now and then. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { JournalEntry } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { newOperationId } from "@debvisor/shared/operation/submit";
import type { BusCluster } from "./bus-cluster.ts";
import { TortureBench } from "./operation-torture-bench.ts";
import { type LivingEngine, startLivingEngine } from "./operation-torture-living.ts";
import { TortureNode } from "./operation-torture-node.ts";
import { pick, type RandomNumbers, randomNumbers } from "./seeded.ts";
import { waitFor } from "./wait-for.ts";

export interface RandomKillOptions {
  readonly seed: number;
  readonly operations: number;
  readonly engines: number;
  readonly kills: number;
  readonly brokerKills: number;
}

export interface RandomKillReport {
  readonly wrong: readonly string[];
  /** Longest time in milliseconds between the death of an owner and the claim of the next one. */
  readonly longestOrphanMs: number;
  readonly adoptions: number;
  readonly summary: string;
}

/** Longest time from the last submission to the end of everything. */
const END_MS = 60_000;
const SUBMIT_MS = 40_000;
const BUSY_MS = 20_000;
/** Files that the operations are about; fewer than operations, so that they wait for each other. */
const FILES = 5;
const FOLDER = "etc/random";
/** Time between two submissions at most. */
const PAUSE_MS = 150;
const PATIENCE = { unreachableMs: 15_000, undoMs: 20_000, retryMs: 50 };

interface Asked {
  readonly id: string;
  readonly file: string;
  readonly value: string;
}

/** Runs operations and kills; judges at the end. */
export async function randomKills(cluster: BusCluster, options: RandomKillOptions): Promise<RandomKillReport> {
  const bench = new TortureBench(cluster);
  await bench.start();
  const node = new TortureNode(cluster, "node-1");
  await node.start();
  bench.nodes.push(node);
  mkdirSync(path.join(node.identity.root, FOLDER));
  for (let i = 0; i < FILES; i++) writeFileSync(path.join(node.identity.root, FOLDER, `f${i}`), "old");
  const run = new RandomRun(bench, node, options);
  try {
    return await run.report();
  } finally {
    await run.stop();
    await bench.stop();
  }
}

class RandomRun {
  readonly #bench: TortureBench;
  readonly #node: TortureNode;
  readonly #options: RandomKillOptions;
  readonly #random: RandomNumbers;
  readonly #engines: LivingEngine[] = [];
  readonly #deaths = new Map<string, number>();
  readonly #asked: Asked[] = [];

  constructor(bench: TortureBench, node: TortureNode, options: RandomKillOptions) {
    this.#bench = bench;
    this.#node = node;
    this.#options = options;
    this.#random = randomNumbers(options.seed);
  }

  async report(): Promise<RandomKillReport> {
    const { engines, operations, kills, brokerKills } = this.#options;
    while (this.#engines.length < engines) this.#engines.push(await startLivingEngine(this.#bench, PATIENCE));
    const killAt = new Set(Array.from({ length: kills }, (_, i) => Math.floor(((i + 1) * operations) / (kills + 1))));
    const brokerAt = new Set(
      Array.from({ length: brokerKills }, (_, i) => 5 + Math.floor((i * operations) / brokerKills)),
    );
    const submitted: Promise<string | undefined>[] = [];
    for (let n = 0; n < operations; n++) {
      submitted.push(this.#submit(n));
      if (killAt.has(n)) await this.#killEngine();
      if (brokerAt.has(n)) this.#bench.cluster.server(0).kill();
      await systemClock.sleep(this.#random(PAUSE_MS));
    }
    const refused = (await Promise.all(submitted)).filter((one) => one !== undefined);
    const open = () => this.#asked.filter(({ id }) => !this.#isClosed(id));
    const ended = await waitFor(
      () => open().length === 0,
      END_MS,
      () => "",
    ).then(
      () => [],
      () => open().map(({ id }) => `${id} has not ended: ${this.#states(id)}`),
    );
    return this.#judge([...refused, ...ended]);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#engines.map((one) => one.stop()));
  }

  /** Asks any engine, and another one as long as nobody has answered; the same id finds the same operation. */
  async #submit(n: number): Promise<string | undefined> {
    const file = `f${this.#random(FILES)}`;
    const asked = { id: newOperationId(), file, value: `value ${n}` };
    const input = {
      nodes: "node-1",
      to: `/${FOLDER}/${file}`,
      contentBase64: Buffer.from(asked.value).toString("base64"),
      wait: "2m",
    };
    const first = this.#random(1_000);
    const deadline = performance.now() + SUBMIT_MS;
    for (let turn = first; ; turn++) {
      const engine = this.#engines[turn % this.#engines.length];
      try {
        const late = systemClock.sleep(10_000).then(() => {
          throw new DvError("TIMEOUT", "The engine died before it answered.");
        });
        await Promise.race([engine?.submit(asked.id, "host.put-file", input), late]);
        this.#asked.push(asked);
        return undefined;
      } catch (error) {
        // Refused under its locks, because the node was away: it has a log, and has ended.
        if (error instanceof DvError && error.details?.["operation"] === asked.id) {
          this.#asked.push(asked);
          return undefined;
        }
        if (performance.now() > deadline) return `${asked.id} was never accepted: ${(error as Error).message}`;
        await systemClock.sleep(100);
      }
    }
  }

  /** Kills one that runs something, so that it leaves orphans. */
  async #killEngine(): Promise<void> {
    const busy = () => this.#engines.filter(({ engine }) => engine.running > 0);
    await waitFor(
      () => busy().length > 0,
      BUSY_MS,
      () => "no engine runs anything",
    );
    const victim = pick(this.#random, busy());
    this.#deaths.set(victim.nodeId, Date.now());
    await victim.kill();
    this.#engines[this.#engines.indexOf(victim)] = await startLivingEngine(this.#bench, PATIENCE);
  }

  #records(id: string): readonly (JournalEntry & { t: string; owner?: string; state?: string })[] {
    return this.#bench.entries(id).map((entry) => ({ ...entry, ...(JSON.parse(entry.text) as { t: string }) }));
  }

  #isClosed(id: string): boolean {
    return this.#records(id).some(({ t }) => t === "closed");
  }

  #states(id: string): string {
    return this.#records(id)
      .map(({ t, state }) => state ?? t)
      .join(" ");
  }

  #judge(wrong: readonly string[]): RandomKillReport {
    const orphaned = this.#asked.flatMap(({ id }) => this.#orphanTimes(id));
    const longest = Math.max(0, ...orphaned);
    const ends = Map.groupBy(this.#asked, ({ id }) => this.#records(id).find(({ t }) => t === "end")?.state ?? "open");
    const counts = [...ends].map(([state, all]) => `${all.length} ${state}`).join(", ");
    return {
      wrong: [...wrong, ...this.#wrongFiles(), ...this.#wrongTrail()],
      longestOrphanMs: longest,
      adoptions: orphaned.length,
      summary: `${counts}; ${orphaned.length} adopted, the slowest after ${Math.round(longest)} ms`,
    };
  }

  /** From the death of an owner to the claim of the next. */
  #orphanTimes(id: string): number[] {
    const times: number[] = [];
    let owner = "";
    for (const record of this.#records(id)) {
      if (record.t === "claim") {
        const death = [...this.#deaths].find(([nodeId]) => owner.includes(nodeId))?.[1];
        if (death !== undefined) times.push(Math.max(0, record.timeMs - death));
      }
      if (record.owner !== undefined) owner = record.owner;
    }
    return times;
  }

  /** Every file is as the last operation that succeeded on it has left it. */
  #wrongFiles(): string[] {
    return Array.from({ length: FILES }, (_, i) => `f${i}`).flatMap((file) => {
      const order = this.#asked
        .filter((one) => one.file === file && this.#records(one.id).some(({ state }) => state === "succeeded"))
        .map((one) => ({ one, seq: this.#records(one.id).findLast(({ t }) => t === "end")?.seq ?? 0 }))
        .sort((a, b) => a.seq - b.seq);
      const wanted = order.at(-1)?.one.value ?? "old";
      const found = readFileSync(path.join(this.#node.identity.root, FOLDER, file), "utf8");
      return found === wanted ? [] : [`${file} is ${found}, and should be ${wanted}`];
    });
  }

  #wrongTrail(): string[] {
    return this.#asked.flatMap(({ id }) => {
      const trail = this.#bench.trail(id).map(({ kind }) => kind);
      return trail.includes("intent") && trail.includes("outcome")
        ? []
        : [`the trail of ${id} has ${trail.join(", ")}`];
    });
  }
}
