// SPDX-License-Identifier: Apache-2.0
/** Services, nodes and maintenance as an operator handles them; restarts are counted at the nodes' supervisors. */
import type { Chaos } from "./demo-chaos.ts";
import type { Demo } from "./demo-run.ts";
import type { RestartWatch } from "./demo-world.ts";
import type { CommandResult } from "./local-cluster.ts";
import { pick, type RandomNumbers } from "./seeded.ts";

const CHANGE = [0, 4, 5, 6];
const LOOK = [0, 4];
const UNITS = ["node-agent", "discovery", "audit", "gateway"];
const SETTLE_MS = 60_000;

interface Deps {
  readonly demo: Demo;
  readonly watch: RestartWatch;
  readonly chaos: Chaos;
}

export class HostLane {
  readonly #demo: Demo;
  readonly #watch: RestartWatch;
  readonly #chaos: Chaos;
  readonly #random: RandomNumbers;
  /** Names of nodes for which no command has ended unclear since the last success. */
  readonly #clear = new Set<string>();

  constructor({ demo, watch, chaos }: Deps, random: RandomNumbers) {
    this.#demo = demo;
    this.#watch = watch;
    this.#chaos = chaos;
    this.#random = random;
  }

  async run(): Promise<void> {
    while (!this.#demo.over) {
      const dice = this.#random(20);
      if (dice < 7) await this.#restart();
      else if (dice < 9) await this.#reboot();
      else if (dice < 12) await this.#onlyLook();
      else await this.#maintenance();
    }
  }

  async #restart(): Promise<void> {
    const node = pick(this.#random, this.#demo.names);
    const unit = pick(this.#random, UNITS);
    const tag = this.#demo.attempt({ kind: "restart", nodes: [node] });
    const args = ["nodes", "service", "restart", node, unit, "--reason", tag, "--confirm", "--format", "json"];
    await this.#counted(`${node}/${unit}`, node, unit, tag, args);
  }

  async #reboot(): Promise<void> {
    const node = pick(this.#random, this.#demo.names);
    const tag = this.#demo.attempt({ kind: "reboot", nodes: [node] });
    const args = ["nodes", "reboot", node, "--reason", tag, "--confirm", "--format", "json"];
    await this.#counted(`${node}/node`, node, undefined, tag, args);
  }

  /** Runs a restart and counts how often it happened. */
  async #counted(
    spared: string,
    node: string,
    unit: string | undefined,
    tag: string,
    args: readonly string[],
  ): Promise<void> {
    this.#chaos.spared.add(spared);
    const startedAt = Date.now();
    const result = await this.#demo.run(CHANGE, args);
    if (result.code !== 0) await this.#settled(tag);
    // One more look at the supervisor, so that what has just happened is counted.
    await new Promise((resolve) => setTimeout(resolve, 500));
    this.#judge(node, unit, startedAt, result);
    this.#chaos.spared.delete(spared);
  }

  #judge(
    node: string,
    unit: string | undefined,
    startedAt: number,
    result: CommandResult & { readonly text: string },
  ): void {
    const killed = new Set(this.#chaos.kills.map(({ invocation }) => invocation));
    const since = this.#watch.restarts.filter((one) => one.node === node && one.atMs >= startedAt);
    const counted = since.filter((one) => one.unit === unit && !killed.has(one.from));
    const booted = since.some((one) => one.unit === undefined);
    // A whole node that was killed just before or meanwhile has a new boot that is nobody's order.
    const nodeKilled = this.#chaos.kills.some(
      (kill) => kill.node === node && kill.part === "node" && kill.atMs > startedAt - 15_000,
    );
    const most = unit === undefined && nodeKilled ? 2 : 1;
    const least = result.code === 0 && !(unit !== undefined && booted) ? 1 : 0;
    if (counted.length < least || counted.length > most)
      this.#demo.wrong(
        `${node} ${unit ?? "itself"} was started anew ${counted.length} times: ${JSON.stringify(since)}`,
        result,
      );
  }

  /** Waits until the operation of an unclear command has ended, if there is one. */
  async #settled(tag: string): Promise<void> {
    const deadline = performance.now() + SETTLE_MS;
    while (performance.now() < deadline) {
      const { items } = await this.#demo.ask<{ items: { reason: string | null; endedAt: string | null }[] }>(
        "/v1/operations?limit=50&sort=-createdAt",
      );
      const own = items.find(({ reason }) => reason === tag);
      if (own === undefined || own.endedAt !== null) return;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  async #onlyLook(): Promise<void> {
    const node = pick(this.#random, this.#demo.names);
    const unit = pick(this.#random, UNITS);
    const flag = pick(this.#random, ["--dry-run", "--check"]);
    const spared = `${node}/${unit}`;
    this.#chaos.spared.add(spared);
    const killedBefore = this.#chaos.kills.some((kill) => kill.node === node && kill.atMs > Date.now() - 5_000);
    const before = this.#watch.restarts.length;
    const result = await this.#demo.run(CHANGE, ["nodes", "service", "restart", node, unit, flag]);
    const killed = killedBefore || this.#chaos.kills.some((kill) => kill.node === node && kill.part === "node");
    const after = this.#watch.restarts.slice(before).filter((one) => one.node === node && one.unit === unit);
    if (after.length > 0 && !killed) this.#demo.wrong(`${flag} restarted ${node} ${unit}`, result);
    this.#chaos.spared.delete(spared);
  }

  async #maintenance(): Promise<void> {
    const node = pick(this.#random, this.#demo.names);
    const enable = this.#random(2) === 0;
    const tag = this.#demo.attempt({ kind: "maintenance", nodes: [node] });
    const own = this.#random(3) === 0;
    const [program, args] = own
      ? ["debvisor-maintenance", [enable ? "enable" : "disable", "--node", node]]
      : ["dvctl", ["maintenance", enable ? "enable" : "disable", node]];
    const more = enable ? ["--until", "2h"] : [];
    const result = await this.#demo.run(CHANGE, [...args, "--reason", tag, ...more, "--confirm"], program);
    if (result.code !== 0) {
      this.#clear.delete(node);
      await this.#settled(tag);
      return;
    }
    this.#clear.add(node);
    const status = await this.#demo.run(LOOK, ["maintenance", "status", "--format", "json"]);
    if (status.code !== 0) return;
    const { items } = JSON.parse(status.stdout) as { items: { name: string }[] };
    if (items.some(({ name }) => name === node) !== enable)
      this.#demo.wrong(`${result.text} said success, and then:`, status);
  }
}
