// SPDX-License-Identifier: Apache-2.0
/** A service of a node in the node's own process. A restart that fails is tried again, as systemd would. */
import { randomUUID } from "node:crypto";
import { systemClock } from "@debvisor/shared/clock";
import type { SupervisedUnit } from "@debvisor/shared/drivers/lab-supervisor";
import { causeChain } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { ServiceDefinition } from "@debvisor/shared/service";
import type { ServiceHost } from "@debvisor/shared/service-runner";

const RESTART_MIN_MS = 200;
const RESTART_MAX_MS = 5_000;

/** One service; nothing runs before `start`. */
export class ServiceHere {
  readonly name: string;
  readonly #host: ServiceHost;
  readonly #definition: ServiceDefinition;
  readonly #log: Logger;
  #unit: Pick<SupervisedUnit, "state" | "invocation" | "startedAt"> = {
    state: "stopped",
    invocation: null,
    startedAt: null,
  };
  #stopping = false;
  #restarting = false;
  /** Asked for during a restart, which may have read its settings already. */
  #again = false;

  constructor(host: ServiceHost, definition: ServiceDefinition, log: Logger) {
    this.name = definition.name;
    this.#host = host;
    this.#definition = definition;
    this.#log = log;
  }

  get unit(): SupervisedUnit {
    return { name: this.name, ...this.#unit };
  }

  /** Starts it. @throws what the service's start throws */
  start(): Promise<void> {
    return this.#begin(() => this.#host.start(this.#definition));
  }

  /** Ends it in order and starts it again. Returns before that. */
  restart(): void {
    this.#again = true;
    if (this.#restarting || this.#stopping) return;
    this.#restarting = true;
    void this.#cycle().finally(() => {
      this.#restarting = false;
    });
  }

  /** From here on nothing is started any more; the host stops what runs. */
  stop(): void {
    this.#stopping = true;
  }

  async #cycle(): Promise<void> {
    while (this.#again && !this.#stopping) {
      this.#again = false;
      this.#unit = { state: "starting", invocation: null, startedAt: null };
      const startAgain = await this.#host.end(this.name).catch(() => () => this.#host.start(this.#definition));
      await this.#startPatiently(startAgain);
    }
  }

  async #startPatiently(start: () => Promise<void>): Promise<void> {
    for (let wait = RESTART_MIN_MS; !this.#stopping; wait = Math.min(wait * 2, RESTART_MAX_MS)) {
      try {
        return await this.#begin(start);
      } catch (error) {
        this.#log.error(
          { service: this.name, cause: causeChain(error), wait },
          "the service could not be started; it is tried again",
        );
        await systemClock.sleep(wait);
      }
    }
  }

  async #begin(start: () => Promise<void>): Promise<void> {
    this.#unit = { state: "starting", invocation: randomUUID(), startedAt: new Date().toISOString() };
    try {
      await start();
      this.#unit.state = "running";
    } catch (error) {
      this.#unit = { state: "failed", invocation: null, startedAt: null };
      throw error;
    }
  }
}
