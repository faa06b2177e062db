// SPDX-License-Identifier: Apache-2.0
/** Everything that only looks: operations, locks, the trail and its proof. Altered is what it must never call the trail. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Demo } from "./demo-run.ts";
import { pick, type RandomNumbers } from "./seeded.ts";

const LOOK = [0, 4];

export class LookLane {
  readonly #demo: Demo;
  readonly #random: RandomNumbers;

  constructor(demo: Demo, random: RandomNumbers) {
    this.#demo = demo;
    this.#random = random;
  }

  async run(): Promise<void> {
    while (!this.#demo.over) await this.#one();
  }

  async #one(): Promise<void> {
    switch (this.#random(9)) {
      case 0:
        return void (await this.#demo.run(LOOK, ["locks", "list"]));
      case 1:
        return void (await this.#demo.run(LOOK, ["audit", "list", "--since", "1d"]));
      case 2:
        return void (await this.#demo.run(LOOK, ["audit", "verify"]));
      case 3:
        return await this.#verifyElsewhere();
      case 4:
        return void (await this.#demo.run(LOOK, ["audit", "status"]));
      case 5:
        return void (await this.#demo.run(LOOK, ["status"], "debvisor-maintenance"));
      default:
        return await this.#operation();
    }
  }

  async #verifyElsewhere(): Promise<void> {
    const { code, stdout } = await this.#demo.run(LOOK, ["audit", "export"]);
    if (code !== 0) return;
    const file = path.join(this.#demo.folder, "looked.jsonl");
    writeFileSync(file, stdout);
    await this.#demo.run([0], [file], "debvisor-audit-verify");
  }

  async #operation(): Promise<void> {
    const list = await this.#demo.run(LOOK, ["operations", "list", "--limit", "20", "--format", "json"]);
    if (list.code !== 0) return;
    const { items } = JSON.parse(list.stdout) as { items: { id: string }[] };
    if (items.length === 0) return;
    const { id } = pick(this.#random, items);
    await this.#demo.run(LOOK, ["operations", pick(this.#random, ["show", "why"]), id]);
  }
}
