// SPDX-License-Identifier: Apache-2.0
/**
 * A member of the bus's server cluster: how the first server becomes a JetStream cluster of one, how a lone server gets
 * going again, and how others join (DESIGN.md 5, measured in lab/nats). Restarts its nats-server when that ends.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BusTls } from "../bus/tls.ts";
import type { Credential } from "../bus/trust.ts";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { hostPort } from "../join/addresses.ts";
import type { Logger } from "../log.ts";
import { evenOutAccounts, hearAccounts, type SystemAccess, safeTrust } from "./accounts.ts";
import { becomeClusterOfOne, isUnused } from "./alone.ts";
import { certificateOnDisk, showsCertificate } from "./certificate.ts";
import type { NatsServerSettings } from "./config.ts";
import { isHealthy, metaGroup, type NatsProcess, startNatsProcess, waitForHealth } from "./process.ts";
import { startHelper } from "./second-server.ts";

/** What a member needs besides its server's settings. */
export interface MemberOptions {
  readonly binary: string;
  /** Folder of this member's nats-server files; holds the store. */
  readonly dir: string;
  readonly settings: Omit<NatsServerSettings, "storeDir" | "resolverDir" | "jetstream">;
  readonly systemCredential: Credential;
  /** `host:port` for clients of the other servers; a start asks them first who was revoked meanwhile. */
  readonly others?: readonly string[];
  /** Three free ports for the short-lived helper (client, cluster, monitor). */
  readonly helperPorts: readonly [number, number, number];
  readonly log: Logger;
  /** Called whenever a nats-server process was started, the first one included. */
  readonly onStart?: (pid: number) => void;
}

/** What may change while the server runs. */
export interface ServerChanges extends Pick<NatsServerSettings, "routes" | "routePassword" | "trust"> {
  readonly others: readonly string[];
}

/**
 * How long nobody may lead the first server at first; doubles. A first election is 0.8 s after the start at the latest, and one whose
 * votes were lost is followed by another after 4 to 9 s.
 */
const FIRST_ELECTION_MS = 1_200;
/** The helper has to stay until the lone server is through with its store, however large that is. */
const RESTART_LIMIT_MS = 600_000;
/** A server that does not answer by then is taken for down; the start goes on without it. */
const HEAR_LIMIT_MS = 500;
/** Pause between two looks at the accounts of servers that are starting. */
const COMPARE_MS = 200;
const RESTART_MIN_MS = 200;
const RESTART_MAX_MS = 5_000;

/** True once the member whose files are in `dir` has belonged to a formed cluster. */
export function hasFormed(dir: string): boolean {
  return existsSync(join(dir, "formed"));
}

/** Runs one nats-server for as long as the node lives. */
export class BusMember {
  readonly #options: MemberOptions;
  readonly #formedFile: string;
  #settings: NatsServerSettings;
  #others: readonly string[];
  #server: NatsProcess | undefined;
  #stopping = false;
  /** The latest restart. */
  #starting: Promise<void> = Promise.resolve();
  #restartWait = RESTART_MIN_MS;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.#formedFile = join(options.dir, "formed");
    this.#settings = {
      ...options.settings,
      storeDir: join(options.dir, "jetstream"),
      resolverDir: join(options.dir, "accounts"),
      jetstream: true,
    };
    this.#others = options.others ?? [];
  }

  /** Process id of the running server; undefined while there is none. */
  get pid(): number | undefined {
    return this.#server?.pid;
  }

  get settings(): NatsServerSettings {
    return this.#settings;
  }

  /** How to reach the other servers under this member's credential. */
  get others(): SystemAccess {
    return this.#access(this.#others);
  }

  /**
   * First server of a cluster, or its restart while it is the only one. The raft group needs to have seen one peer before
   * it elects: on the first boot a second server that is then removed, later any route connection at all.
   * @throws NATS_SERVER_FAILED
   */
  async startAlone(patienceMs = 20_000): Promise<void> {
    for (let electionMs = FIRST_ELECTION_MS; ; electionMs *= 2) {
      if (await this.#startWithHelper(electionMs, patienceMs)) break;
      this.#options.log.info({ electionMs }, "nobody was elected; the server begins anew");
    }
    this.#markFormed();
  }

  /** False when the first start came to nothing, and nothing is left of it. */
  async #startWithHelper(electionMs: number, patienceMs: number): Promise<boolean> {
    const { binary, dir, helperPorts: ports } = this.#options;
    const { storeDir, host, port } = this.#settings;
    const first = !hasFormed(dir);
    // Only a new group holds its first election at once, and one that was killed on its way to that is no new one.
    if (first && isUnused(storeDir)) rmSync(storeDir, { recursive: true, force: true });
    this.#launch(this.#settings);
    const server = this.#running();
    const helper = await startHelper({ binary, dir, ports, votes: first, patienceMs }, server);
    try {
      const access = this.#access([hostPort(host, port)]);
      if (first && !(await becomeClusterOfOne(server, helper.name, access, electionMs))) {
        await this.#take().stop();
        return false;
      }
      await waitForHealth(server, patienceMs);
      return true;
    } finally {
      await helper.stop();
    }
  }

  /**
   * Joins the servers named in the routes, or comes back to them. New servers must join one after the other: two with empty
   * stores could elect a leader between them.
   * @throws NATS_SERVER_FAILED
   */
  join(patienceMs = 30_000): Promise<void> {
    const joined = this.#join(patienceMs);
    this.#starting = joined.catch(() => undefined);
    return joined;
  }

  async #join(patienceMs: number): Promise<void> {
    await this.#launchAmongOthers();
    const deadline = systemClock.monotonic() + patienceMs;
    await waitForHealth(this.#running(), patienceMs);
    // A server can be healthy before the meta group counts it.
    while (
      !this.#stopping &&
      !hasFormed(this.#options.dir) &&
      ((await metaGroup(this.#settings))?.size ?? 0) < this.#settings.routes.length
    ) {
      if (systemClock.monotonic() > deadline)
        throw new DvError("NATS_SERVER_FAILED", `The bus did not admit the server: ${this.#running().logTail()}`);
      await systemClock.sleep(50);
    }
    this.#markFormed();
  }

  /**
   * Adopts a new list of routes. The running server is left alone: whoever is new dials it, and a reload would cost the requests
   * that are on their way. The list is for its next start.
   */
  setRoutes(routes: readonly string[]): void {
    this.adopt({ routes });
  }

  /**
   * Adopts what changed, for the next start; only another password between servers is taken up at once. It cuts the route of
   * whoever does not know it, so every server has to be given it within moments; routes come back by themselves.
   */
  adopt({ others = this.#others, ...changes }: Partial<ServerChanges>): void {
    this.#others = others;
    const before = this.#settings;
    this.#settings = { ...before, ...changes };
    if (before.routePassword !== this.#settings.routePassword) this.#server?.reload(this.#settings);
    else if (JSON.stringify(before) !== JSON.stringify(this.#settings)) this.#server?.rewrite(this.#settings);
  }

  /**
   * Has the server read its certificate files again, and waits until it shows the new certificate. Connections stay; requests
   * under way on this server may time out (see `NatsProcess.reload`). Does nothing while no server runs: a start reads them anyway.
   * @throws DATA_FOLDER_CORRUPT when the files do not fit together, NATS_SERVER_FAILED when the server does not take them up
   */
  async takeUpCertificates(): Promise<void> {
    const { tls, host, port } = this.#settings;
    if (!tls || !this.#server) return;
    const wanted = certificateOnDisk(tls);
    this.#server.reload(this.#settings);
    if (await showsCertificate(host, port, tls, wanted)) return;
    throw new DvError("NATS_SERVER_FAILED", `The server does not show its new certificate: ${this.#server.logTail()}`);
  }

  /** Stops the server; it stays stopped. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#server?.stop();
    // A start under way has a helper to stop and files to remove.
    await this.#starting;
  }

  /**
   * Stops the server for work on its files, which must not throw; resolves when it is healthy again. A start under way ends before.
   * @throws NATS_SERVER_FAILED
   */
  whileStopped<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#starting.then(async () => {
      const result = await this.#take().stop().then(work);
      await this.#launchAmongOthers();
      if (!this.#stopping) await waitForHealth(this.#running(), RESTART_LIMIT_MS);
      return result;
    });
    this.#starting = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  /** The running server, whose end is nobody's business from now on. */
  #take(): NatsProcess {
    const server = this.#running();
    this.#server = undefined;
    return server;
  }

  #running(): NatsProcess {
    if (!this.#server) throw new DvError("NATS_SERVER_FAILED", "nats-server is not running.");
    return this.#server;
  }

  /** Starts with the revocations that other servers know of, and sees to it that all know the same afterwards. */
  async #launchAmongOthers(): Promise<void> {
    const heard = await hearAccounts(this.#access(this.#others), this.#settings.trust, HEAR_LIMIT_MS);
    if (this.#stopping) return;
    const trust = safeTrust(this.#settings.trust, this.#settings.resolverDir, heard);
    this.#settings = { ...this.#settings, trust };
    this.#launch(this.#settings);
    void this.#evenOut(this.#running());
  }

  /** Servers that all start at once find nobody to ask before, so they compare until all is well, and once more then. */
  async #evenOut(server: NatsProcess): Promise<void> {
    const { host, port } = this.#settings;
    const deadline = systemClock.monotonic() + RESTART_LIMIT_MS;
    for (let healthy = false; !healthy && systemClock.monotonic() < deadline; ) {
      await systemClock.sleep(COMPARE_MS);
      if (this.#stopping || this.#server !== server) return;
      healthy = await isHealthy(server);
      try {
        const disputed = await evenOutAccounts(this.#access([hostPort(host, port)]), this.#settings.trust, COMPARE_MS);
        if (disputed.length > 0) this.#options.log.warn({ accounts: disputed }, "servers disagreed about accounts");
      } catch (error) {
        this.#options.log.debug({ error: String(error) }, "the servers' accounts could not be compared");
      }
    }
  }

  #access(servers: readonly string[]): SystemAccess {
    const tls: BusTls | undefined = this.#settings.tls && { caFile: this.#settings.tls.ca };
    return { servers, credential: this.#options.systemCredential, ...(tls ? { tls } : {}) };
  }

  #launch(settings: NatsServerSettings): void {
    const server = startNatsProcess(
      { binary: this.#options.binary, dir: this.#options.dir, name: "nats-server" },
      settings,
    );
    const startedAt = systemClock.monotonic();
    this.#server = server;
    this.#options.onStart?.(server.pid);
    void server.exited.then(async ({ code, signal }) => {
      if (this.#stopping || this.#server !== server) return;
      this.#options.log.error({ code, signal, wait: this.#restartWait }, "nats-server ended; it is started again");
      if (systemClock.monotonic() - startedAt > 30_000) this.#restartWait = RESTART_MIN_MS;
      await systemClock.sleep(this.#restartWait);
      this.#restartWait = Math.min(this.#restartWait * 2, RESTART_MAX_MS);
      if (!this.#stopping && this.#server === server) this.#restart();
    });
  }

  /** One restart after the other: the helper's files and ports are there once. */
  #restart(): void {
    const alone = this.#settings.routes.length <= 1;
    this.#starting = this.#starting
      .then(() => (alone ? this.startAlone(RESTART_LIMIT_MS) : this.#launchAmongOthers()))
      .catch((error: unknown) => {
        if (!this.#stopping) this.#options.log.error({ error: String(error) }, "nats-server did not come back");
      });
  }

  #markFormed(): void {
    mkdirSync(this.#options.dir, { recursive: true });
    writeFileSync(this.#formedFile, `${this.#settings.serverName}\n`);
  }
}
