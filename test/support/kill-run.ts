// SPDX-License-Identifier: Apache-2.0
/**
 * Kills processes of a running local cluster, one after the other, while a writer writes and a follower follows. What must
 * hold: every write is there once, the follower sees every event once and in order, and every node is alive at the end.
 */

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import path from "node:path";
import type { LabNodeStatus, LocalCluster } from "./local-cluster.ts";
import { waitFor } from "./wait-for.ts";

/** What is killed: a service, or the node's nats-server. */
export interface Victim {
  readonly node: string;
  readonly part: string;
}

/** What the run saw. */
export interface KillRunResult {
  /** Sequences in the order in which the follower printed them. */
  readonly followed: readonly number[];
  /** Names of the keys whose creation was acknowledged, and of all keys that exist. */
  readonly acknowledged: readonly string[];
  readonly existing: readonly string[];
  /** Milliseconds from each kill until a write was acknowledged again and the part was back. */
  readonly recoveryMs: readonly number[];
}

const RECOVERY_MS = 40_000;
/** Longest time for which the list of a gateway may lag behind what was acknowledged. */
const SETTLE_MS = 20_000;
const ROOT = path.resolve(import.meta.dirname, "../..");

/** An event as the follower got it. */
export interface FollowedEvent {
  readonly id: string;
  readonly type: string;
  readonly time: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Follows all events through `dvctl events follow`, which reconnects by itself. */
export class Follower {
  /** Sequences, and what came with them. */
  readonly seen: number[] = [];
  readonly events: FollowedEvent[] = [];
  readonly #child;

  constructor(lab: LocalCluster) {
    this.#child = spawn(
      process.execPath,
      [
        path.join(ROOT, "apps/cli/src/dvctl.ts"),
        "events",
        "follow",
        "--since",
        "0",
        "--filter",
        ">",
        "--format",
        "json",
      ],
      { env: { ...process.env, DV_CONTEXT: lab.contextFile }, stdio: ["ignore", "pipe", "ignore"] },
    );
    let rest = "";
    this.#child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const event = JSON.parse(line) as FollowedEvent & { readonly seq: number };
        this.seen.push(event.seq);
        this.events.push(event);
      }
    });
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGINT");
    await closed;
  }
}

/** Creates keys without pause, each until it is acknowledged, through whichever gateway answers. */
class Writer {
  readonly acknowledged: string[] = [];
  /** What was last answered instead, for people. */
  refusal = "nothing";
  readonly #lab: LocalCluster;
  #running = true;
  readonly #done: Promise<void>;

  constructor(lab: LocalCluster) {
    this.#lab = lab;
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    for (let i = 0; this.#running; i++) {
      const name = `write-${i}`;
      const key = randomUUID();
      let outcome = await this.#create(name, key, i % 3);
      for (let tries = 1; outcome === "again"; tries++) {
        if (!this.#running) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
        outcome = await this.#create(name, key, (i + tries) % 3);
      }
      if (outcome === "done") this.acknowledged.push(name);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /**
   * 504: the gateway that had the request was killed and nobody can know what it did; BUS_UNAVAILABLE: nor whether the bus took it, and
   * the key answers with that from then on. Such a write is given up.
   */
  async #create(name: string, key: string, gateway: number): Promise<"done" | "again" | "unknown"> {
    try {
      const reply = await this.#lab.fetch(
        "/v1/tokens",
        {
          method: "POST",
          headers: { "content-type": "application/json", "idempotency-key": key },
          body: JSON.stringify({ name, role: "viewer" }),
        },
        gateway + 1,
      );
      const text = await reply.text();
      if (reply.ok) return "done";
      if (reply.status !== 429) this.refusal = `node-${gateway + 1} on ${name}: ${reply.status} ${text}`;
      return reply.status === 504 || text.includes('"code":"BUS_UNAVAILABLE"') ? "unknown" : "again";
    } catch (error) {
      this.refusal = `node-${gateway + 1} on ${name}: ${String(error)}`;
      return "again";
    }
  }
}

/** Runs the kills in order and returns what was seen. */
export async function runKills(lab: LocalCluster, victims: readonly Victim[]): Promise<KillRunResult> {
  const follower = new Follower(lab);
  const writer = new Writer(lab);
  const recoveryMs: number[] = [];
  try {
    await waitFor(
      () => writer.acknowledged.length > 0 && follower.seen.length > 0,
      RECOVERY_MS,
      () => "nothing was written or followed",
    );
    for (const victim of victims) recoveryMs.push(await killOne(lab, victim, writer));
    await writer.stop();
    await lab.untilState({ "node-1": "alive", "node-2": "alive", "node-3": "alive" }, RECOVERY_MS);
    const last = await lastSequence(lab);
    await waitFor(
      () => (follower.seen.at(-1) ?? 0) >= last,
      RECOVERY_MS,
      () => `followed up to ${follower.seen.at(-1)} of ${last}`,
    );
  } finally {
    await writer.stop();
    await follower.stop();
  }
  return {
    followed: follower.seen,
    acknowledged: writer.acknowledged,
    existing: await settledNames(lab, writer),
    recoveryMs,
  };
}

/** Names of the keys once every acknowledged one is shown: a gateway lists from a picture that may lag after a kill. */
async function settledNames(lab: LocalCluster, { acknowledged }: Writer): Promise<string[]> {
  let names = await keyNames(lab);
  const deadline = performance.now() + SETTLE_MS;
  while (!acknowledged.every((name) => names.includes(name)) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    names = await keyNames(lab);
  }
  return names;
}

async function killOne(lab: LocalCluster, victim: Victim, writer: Writer): Promise<number> {
  const pid = pidOf(await lab.nodes(), victim);
  if (pid === null) throw new Error(`${victim.part} of ${victim.node} does not run`);
  const written = writer.acknowledged.length;
  const startedAt = performance.now();
  process.kill(pid, "SIGKILL");
  let now: number | null = null;
  await waitFor(
    async () => {
      now = pidOf(await lab.nodes(), victim);
      return now !== null && now !== pid && writer.acknowledged.length > written;
    },
    RECOVERY_MS,
    () =>
      `${victim.part} of ${victim.node} was killed (process ${pid}, now ${now}); ${writer.acknowledged.length - written} writes since, last refused: ${writer.refusal}`,
  );
  return Math.round(performance.now() - startedAt);
}

function pidOf(nodes: readonly LabNodeStatus[], { node, part }: Victim): number | null {
  const status = nodes.find(({ name }) => name === node);
  if (part === "nats-server") return status?.natsPid ?? null;
  return status?.services.find(({ name }) => name === part)?.pid ?? null;
}

async function lastSequence(lab: LocalCluster): Promise<number> {
  const { stdout } = await lab.dvctl(
    "events",
    "follow",
    "--tail",
    "1",
    "--filter",
    ">",
    "--count",
    "1",
    "--format",
    "json",
    "--timeout",
    "20",
  );
  return (JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}") as { seq: number }).seq;
}

async function keyNames(lab: LocalCluster): Promise<string[]> {
  const names: string[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const reply = await lab.fetch(`/v1/tokens?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    const page = (await reply.json()) as { items: { name: string }[]; nextCursor: string | null };
    names.push(...page.items.map(({ name }) => name));
    cursor = page.nextCursor;
  }
  return names.filter((name) => name.startsWith("write-"));
}
