// SPDX-License-Identifier: Apache-2.0
/**
 * A cluster that forms by itself on a LAN of namespaces: machines with a preseed file and a key for the API, and nothing else. Each
 * runs the programs of the units.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { nodePaths } from "@debvisor/shared/node-files";
import { ApiKey } from "./gateway-on-machine.ts";
import { type Lan, type LanOptions, startLan } from "./lan.ts";
import type { Machine } from "./node-machine.ts";
import { boot, membershipOf, startMachine } from "./node-machines.ts";
import { waitFor } from "./wait-for.ts";

export interface FormationOptions extends LanOptions {
  /** Declared size. Default: 3. */
  readonly servers?: 1 | 3 | 5;
  /** More lines of the preseed file of a host. */
  readonly preseed?: (host: number, lan: Lan) => readonly string[];
}

export class Formation implements AsyncDisposable {
  readonly lan: Lan;
  readonly key = new ApiKey();
  readonly machines: Machine[] = [];
  readonly #options: FormationOptions;
  readonly #secret = randomBytes(32).toString("base64");

  constructor(lan: Lan, options: FormationOptions) {
    this.lan = lan;
    this.#options = options;
  }

  /** Text of a host's preseed file. */
  preseed(host: number, more: readonly string[] = []): string {
    return [
      "cluster: lab",
      `secret: ${this.#secret}`,
      `servers: ${this.#options.servers ?? 3}`,
      ...(this.#options.preseed?.(host, this.lan) ?? []),
      ...more,
      "",
    ].join("\n");
  }

  /** Turns on the machine of a host for the first time. `env`: environment of all its programs. */
  async add(host: number, more: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<Machine> {
    const machine = await startMachine(this.lan, host, {
      preseed: this.preseed(host, more),
      files: { "gateway.yaml": this.key.gatewayYaml },
      env,
    });
    this.machines.push(machine);
    return machine;
  }

  /** Turns on several at once. */
  addAll(...hosts: readonly number[]): Promise<Machine[]> {
    return Promise.all(hosts.map((host) => this.add(host)));
  }

  /** Turns on machines that are off. */
  async powerOn(...machines: readonly Machine[]): Promise<void> {
    await Promise.all(machines.map(boot));
  }

  /** Waits until the gateway of each machine has had a write acknowledged. Returns when that was, by `performance.now()`. */
  async untilWritable(machines: readonly Machine[] = this.machines, patienceMs = 45_000): Promise<number> {
    const deadline = performance.now() + patienceMs;
    const until = (machine: Machine) =>
      waitFor(
        async () => machine.isOn && (await this.key.untilWritable(machine, deadline - performance.now())),
        deadline - performance.now(),
        () => `${machine.name} is not writable\n${this.logs()}`,
      );
    await Promise.all(machines.map(until));
    return performance.now();
  }

  /** Waits until a gateway shows exactly these machines as active members. */
  async untilMembers(machine: Machine, names: readonly string[], patienceMs = 20_000): Promise<void> {
    let seen: string[] = [];
    await waitFor(
      async () => {
        seen = await this.key.members(machine);
        return seen.join() === [...names].sort().join();
      },
      patienceMs,
      () => `the members of ${machine.name} are ${seen.join()}\n${this.logs()}`,
    );
  }

  /** Lets the cluster have so many servers; resolves when the gateway shows it. */
  async declareServers(machine: Machine, servers: 3 | 5): Promise<void> {
    const answer = await this.key.ask(machine, "POST", "/v1/cluster/servers", { servers });
    if (answer?.status !== 202) throw new Error(`the cluster may not grow: ${JSON.stringify(answer)}`);
    await waitFor(
      async () => {
        const shown = await this.key.ask(machine, "GET", "/v1/cluster");
        return (shown?.body["servers"] as { declared?: number } | undefined)?.declared === servers;
      },
      20_000,
      () => `the cluster is not declared to have ${servers} servers`,
    );
  }

  /** Ids of the formations that the machines' own files name: more than one, and the cluster has split. */
  formations(): string[] {
    const members = this.machines.filter((machine) => existsSync(nodePaths(machine.nodeDir).membership));
    return [...new Set(members.map((machine) => membershipOf(machine).formation))];
  }

  /** What the machines wrote last, for a test that failed. */
  logs(): string {
    return this.machines.map((machine) => machine.tail(60)).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.machines.map((machine) => machine[Symbol.asyncDispose]()));
    await this.lan[Symbol.asyncDispose]();
  }
}

/** Makes the LAN; the machines are turned on by `add`. */
export async function startFormation(options: FormationOptions): Promise<Formation> {
  return new Formation(await startLan(options), options);
}
