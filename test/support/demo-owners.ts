// SPDX-License-Identifier: Apache-2.0
/** Who runs each open operation, looked at all the time: how long an orphan waits is counted from the kill of that owner. */
import { FINAL_STATES, Operation } from "@debvisor/proto-events/durable";
import { OperationSummary } from "@debvisor/proto-events/operation";
import { page } from "@debvisor/proto-events/replies";
import type { Demo } from "./demo-run.ts";

const LOOK_EVERY_MS = 400;
const Page = page(OperationSummary);

export class OwnerWatch {
  /** Instances by `<operation> <epoch>`. */
  readonly owners = new Map<string, string>();
  readonly #demo: Demo;
  readonly #done: Promise<void>;
  #running = true;

  constructor(demo: Demo) {
    this.#demo = demo;
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    for (let gateway = 1; this.#running; gateway = 1 + (gateway % this.#demo.names.length)) {
      await this.#look(gateway).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  async #look(gateway: number): Promise<void> {
    const reply = await this.#demo.lab.fetch("/v1/operations?limit=20&sort=-createdAt", {}, gateway);
    const { items } = Page.parse(await reply.json());
    for (const { id, state } of items) {
      if (FINAL_STATES.has(state)) continue;
      const one = await this.#demo.lab.fetch(`/v1/operations/${id}`, {}, gateway);
      const { owner } = Operation.parse(await one.json());
      if (owner) this.owners.set(`${id} ${owner.epoch}`, owner.instance);
    }
  }
}
