// SPDX-License-Identifier: Apache-2.0
/**
 * A Docker daemon of a test's own, in a network namespace: started in the machine's own it would set the policy of forwarding to DROP.
 * Nothing is pulled; the base image is the Debian tree of the systemd nodes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ROOT } from "../../tools/paths.ts";
import { isInstalled } from "../../tools/test-requirements.ts";
import type { Lan } from "./lan.ts";
import { run } from "./lan-namespaces.ts";
import type { CommandResult } from "./local-cluster.ts";
import { systemdNodesLack, systemdTree } from "./systemd-tree.ts";
import { waitFor } from "./wait-for.ts";

/** Name of the image that the tree becomes. */
const BASE = "debvisor-test-base";
const START_MS = 30_000;
const COMMAND_MS = 180_000;
const STOP_MS = 20_000;

/** What this machine lacks for a daemon; empty when it can have one. */
export function dockerLacks(): string[] {
  const programs = ["dockerd", "docker", "docker-compose", "iptables", "tar"];
  return [...systemdNodesLack(), ...programs.filter((program) => !isInstalled(program))];
}

export class DockerDaemon implements AsyncDisposable {
  readonly #lan: Lan;
  readonly #dir = mkdtempSync(path.join(tmpdir(), "dv-docker-"));
  #process: ChildProcess | undefined;

  constructor(lan: Lan) {
    this.#lan = lan;
  }

  /** Starts it and imports the base image. @throws Error with the end of its log */
  async start(): Promise<void> {
    const flags = ["--data-root", this.#at("data"), "--exec-root", this.#at("exec"), "--pidfile", this.#at("pid")];
    const place = ["nsenter", `--net=/run/netns/${this.#lan.namespace(0)}`];
    const argv = [...place, "dockerd", ...flags, "--host", this.#socket, "--bip", "172.29.7.1/24"];
    const log = openSync(this.#at("log"), "a");
    // Not `spawnOutside`: its pipes would have to be read as long as the daemon lives.
    this.#process = spawn("setpriv", ["--pdeathsig", "KILL", ...argv], { stdio: ["ignore", log, log] });
    closeSync(log);
    await waitFor(
      async () => (await this.#docker(["docker", "info"])).code === 0,
      START_MS,
      () => `dockerd does not start: ${readFileSync(this.#at("log"), "utf8").slice(-2_000)}`,
    );
    const script = 'tar --create --directory "$1" . | docker import - "$2"';
    const { code, stderr } = await this.#docker(["sh", "-c", script, "import", await systemdTree(), BASE]);
    if (code !== 0) throw new Error(`the base image cannot be imported: ${stderr}`);
  }

  /** Runs docker-compose on the repository's file. */
  compose(...args: string[]): Promise<CommandResult> {
    const file = path.join(ROOT, "docker-compose.yml");
    return this.#docker(["docker-compose", "--file", file, "--project-name", "dvtest", ...args]);
  }

  /** Where the daemon keeps a volume of the project. */
  volume(name: string): string {
    return path.join(this.#at("data"), "volumes", `dvtest_${name}`, "_data");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#process;
    if (child && child.exitCode === null) {
      await this.compose("down", "--volumes", "--timeout", "2");
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  get #socket(): string {
    return `unix://${this.#at("socket")}`;
  }

  #at(name: string): string {
    return path.join(this.#dir, name);
  }

  #docker(argv: readonly string[]): Promise<CommandResult> {
    return run(["env", `DOCKER_HOST=${this.#socket}`, `DEBVISOR_IMAGE=${BASE}`, ...argv], "", COMMAND_MS);
  }
}
