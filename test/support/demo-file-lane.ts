// SPDX-License-Identifier: Apache-2.0
/** Files as an operator changes them: put, remove, rollback, trials, queues. One lane writes its own paths only. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Demo } from "./demo-run.ts";
import { type Contents, contentsOf } from "./demo-world.ts";
import type { CommandResult } from "./local-cluster.ts";
import { pick, type RandomNumbers } from "./seeded.ts";

/** Done, nobody answers, refused or failed, a prerequisite is not met. */
const CHANGE = [0, 4, 5, 6];
const SELECTIONS = ["all", "all", "node-1", "node-2", "node-1,node-3", "node-2,node-3"];

/** The last change of the lane's path that said success. */
interface Last {
  readonly id: string;
  readonly before: Contents;
}

export class FileLane {
  readonly #demo: Demo;
  readonly #name: string;
  readonly #random: RandomNumbers;
  #generation = 1;
  #written = 0;
  #last: Last | undefined;

  constructor(demo: Demo, name: string, random: RandomNumbers) {
    this.#demo = demo;
    this.#name = name;
    this.#random = random;
  }

  async run(): Promise<void> {
    while (!this.#demo.over) {
      const dice = this.#random(20);
      if (dice < 8) await this.#put();
      else if (dice < 10) await this.#remove();
      else if (dice < 13) await this.#rollback();
      else if (dice < 15) await this.#onlyLook();
      else if (dice < 18) await this.#trial();
      else await this.#contend();
    }
  }

  get #file(): string {
    return `/etc/${this.#name}-${this.#generation}`;
  }

  /* What an unclear end left is judged at the end of the run; until then nobody touches that path again. */
  #leave(): void {
    this.#generation++;
    this.#last = undefined;
  }

  #select(): { readonly nodes: string; readonly names: readonly string[] } {
    const nodes = pick(this.#random, SELECTIONS);
    return { nodes, names: nodes === "all" ? this.#demo.names : nodes.split(",") };
  }

  #contents(names: readonly string[]): Contents {
    return contentsOf(this.#demo.roots, this.#file, names);
  }

  /** Arguments of a put of a new content. */
  #newPut(nodes: string, names: readonly string[]) {
    const wanted = `${this.#name} ${this.#generation} ${++this.#written}\n`;
    const from = path.join(this.#demo.folder, `${this.#name}-${this.#written}`);
    writeFileSync(from, wanted);
    const tag = this.#demo.attempt({ kind: "file", file: this.#file, wanted, nodes: names });
    const args = ["nodes", "file", "put", "--from-file", from, "--to", this.#file, "--nodes", nodes, "--reason", tag];
    return { wanted, args };
  }

  async #put(): Promise<void> {
    const { nodes, names } = this.#select();
    const before = this.#contents(names);
    const { args, wanted } = this.#newPut(nodes, names);
    const result = await this.#demo.run(CHANGE, [...args, "--confirm", "--format", "json"]);
    this.#believe(result, names, wanted, before);
  }

  async #remove(): Promise<void> {
    const { nodes, names } = this.#select();
    const before = this.#contents(names);
    const tag = this.#demo.attempt({ kind: "file", file: this.#file, wanted: null, nodes: names });
    const args = ["nodes", "file", "remove", this.#file, "--nodes", nodes, "--reason", tag];
    const result = await this.#demo.run(CHANGE, [...args, "--confirm", "--format", "json"]);
    this.#believe(result, names, null, before);
  }

  #believe(
    result: CommandResult & { readonly text: string },
    names: readonly string[],
    wanted: string | null,
    before: Contents,
  ): void {
    if (result.code !== 0) {
      this.#leave();
      return;
    }
    const { id, state, changed } = JSON.parse(result.stdout) as { id: string; state: string; changed: boolean };
    if (state !== "succeeded") this.#demo.wrong(`exit code 0 with state ${state}`, result);
    this.#expect(Object.fromEntries(names.map((name) => [name, wanted])), result);
    this.#last = changed ? { id, before } : undefined;
  }

  #expect(wanted: Contents, about: CommandResult & { readonly text: string }): void {
    const found = this.#contents(Object.keys(wanted));
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      this.#demo.wrong(`${this.#file} is ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`, about);
  }

  async #rollback(): Promise<void> {
    const last = this.#last;
    if (last === undefined) return await this.#put();
    this.#last = undefined;
    const result = await this.#demo.run(CHANGE, ["operations", "rollback", last.id, "--confirm", "--format", "json"]);
    if (result.code === 0) this.#expect(last.before, result);
    else this.#leave();
  }

  async #onlyLook(): Promise<void> {
    const { nodes, names } = this.#select();
    const before = this.#contents(names);
    const flag = pick(this.#random, ["--dry-run", "--check", "--diff"]);
    const { args } = this.#newPut(nodes, names);
    // Without --confirm, many targets are only summarised; one is written.
    const flags = flag === "--diff" ? ["--diff", "--dry-run"] : [flag];
    const result = await this.#demo.run(CHANGE, [...args, ...flags]);
    this.#expect(before, result);
  }

  /** A change that undoes itself unless it is confirmed. */
  async #trial(): Promise<void> {
    const { nodes, names } = this.#select();
    const before = this.#contents(names);
    const { args, wanted } = this.#newPut(nodes, names);
    const id = await this.#begin([...args, "--try", "3s"]);
    if (id === undefined) return;
    const verb = pick(this.#random, ["confirm", "cancel", "wait"]);
    const flags = verb === "wait" ? [] : ["--confirm"];
    const asked = await this.#demo.run(CHANGE, ["operations", verb, id, ...flags, "--format", "json"]);
    const end = await this.#demo.run(CHANGE, ["operations", "wait", id, "--format", "json"]);
    const state = stateOf(end);
    if (verb === "confirm" && asked.code === 0 && state !== undefined && state !== "succeeded")
      this.#demo.wrong(`confirmed, and then ${state}`, end);
    if (
      verb === "cancel" &&
      asked.code === 0 &&
      state !== undefined &&
      state !== "cancelled" &&
      state !== "rolled-back"
    )
      this.#demo.wrong(`cancelled, and then ${state}`, end);
    if (state === "succeeded") this.#expect(Object.fromEntries(names.map((name) => [name, wanted])), end);
    else if (state === "cancelled" || state === "rolled-back") this.#expect(before, end);
    else this.#leave();
    this.#last = undefined;
  }

  /** Starts one without following it. */
  async #begin(args: readonly string[]): Promise<string | undefined> {
    const { code, stdout } = await this.#demo.run(CHANGE, [...args, "--confirm", "--detach"]);
    if (code === 0) return stdout.trim();
    this.#leave();
    return undefined;
  }

  /** A second change of the same file: refused at once, or queued and then the one that counts. */
  async #contend(): Promise<void> {
    const names = this.#demo.names;
    const first = this.#newPut("all", names);
    const id = await this.#begin([...first.args, "--try", "4s"]);
    if (id === undefined) return;
    const second = this.#newPut("all", names);
    const waits = this.#random(2) === 0;
    const flags = waits ? ["--wait=40s"] : [];
    const result = await this.#demo.run(CHANGE, [...second.args, ...flags, "--confirm", "--format", "json"]);
    await this.#demo.run([0, 4], ["operations", "why", id]);
    const end = await this.#demo.run(CHANGE, ["operations", "wait", id, "--format", "json"]);
    if (stateOf(end) === undefined || result.code === 4) return this.#leave();
    if (result.code === 0) this.#expect(Object.fromEntries(names.map((name) => [name, second.wanted])), result);
    else if (waits || !/LOCK_HELD|PLAN_STALE|CHECK_FAILED/.test(result.stderr)) return this.#leave();
    this.#last = undefined;
  }
}

function stateOf({ code, stdout }: CommandResult): string | undefined {
  if (code !== 0 && code !== 5) return undefined;
  try {
    return (JSON.parse(stdout) as { state?: string }).state;
  } catch {
    return undefined;
  }
}
