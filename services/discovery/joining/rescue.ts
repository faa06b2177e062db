// SPDX-License-Identifier: Apache-2.0
/**
 * Makes a server that was left alone a cluster of one that goes on with its copy of the data (ADR-0022). Works on the machine itself
 * with its services stopped, because without a majority nothing can be recorded anywhere else. Each step can be done again; a rescue
 * that was killed is gone on with by starting it again.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { contractsOf } from "@debvisor/proto-events/registry";
import { lowerReplicas, openAdmin } from "@debvisor/shared/bus/admin";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import { connectSystem, type SystemConnection } from "@debvisor/shared/bus/system";
import { type Credential, createIssuer } from "@debvisor/shared/bus/trust";
import { systemClock, timestamp } from "@debvisor/shared/clock";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { createLogger, type Logger } from "@debvisor/shared/log";
import { type LoneServer, startLone } from "@debvisor/shared/nats-server/lone";
import { peerIdOf } from "@debvisor/shared/nats-server/process";
import { busTls, nodePaths } from "@debvisor/shared/node-files";
import { VERSION } from "@debvisor/shared/version";
import { serverNameOf } from "../model/membership.ts";
import { renewOwnIfDue } from "./own-certificate.ts";
import { keepCopy } from "./rescue-copy.ts";
import {
  copyOf,
  RESCUE_STEPS,
  type RescueJournal,
  type RescueStep,
  readJournal,
  writeJournal,
} from "./rescue-journal.ts";
import type { Survivor } from "./rescue-plan.ts";
import { enterMembers, recordEnd, recordIntent, writeFiles } from "./rescue-records.ts";

const CONNECT_MS = 10_000;
/** Measured: a leader of the group 0.8 s after the start, of every stream 8 to 12 s after it; after another start 25 to 40 s. */
const LEADER_MS = 60_000;
const FIRST_STREAMS_MS = 25_000;
const STREAMS_MS = 90_000;
const STREAMS_TRIES = 3;
const SETTLE_MS = 500;
const ASK_AGAIN_MS = 50;

/** What a rescue is told. */
export interface RescueOptions {
  readonly survivor: Survivor;
  readonly actor: string;
  readonly reason: string;
  /** Path of nats-server. */
  readonly binary: string;
  /** Called before each step. */
  readonly onStep: (step: RescueStep) => void;
}

/** What a rescue did. */
export interface Rescued {
  readonly rescue: string;
  readonly off: readonly { readonly id: string; readonly name: string }[];
  readonly formation: string;
  /** Streams that had more than one replica. */
  readonly lowered: readonly string[];
  /** Folder with the data as it was before. */
  readonly copy: string;
  /** Milliseconds until the first write was acknowledged; null when that was in a run before. */
  readonly firstWriteMs: number | null;
}

/**
 * Begins a rescue or goes on with one. The servers that were declared off are those that `examine` found nothing against.
 * @throws RESCUE_REFUSED before anything was changed, NATS_SERVER_FAILED, BUS_UNAVAILABLE; then it is gone on with
 */
export async function rescue(options: RescueOptions): Promise<Rescued> {
  return await new Run(options, readJournal(options.survivor.dir) ?? begun(options)).toItsEnd();
}

function begun({ survivor, actor, reason }: RescueOptions): RescueJournal {
  const { node, membership, others } = survivor;
  return {
    version: 1,
    id: randomBytes(16).toString("hex"),
    cluster: membership.cluster,
    node: node.id,
    ...{ actor, reason, at: timestamp(systemClock) },
    off: [...others],
    formation: { before: membership.formation, after: randomBytes(16).toString("hex") },
    routePassword: randomBytes(24).toString("hex"),
    done: [],
  };
}

class Run {
  readonly #options: RescueOptions;
  readonly #startedAt = systemClock.monotonic();
  readonly #log: Logger;
  #journal: RescueJournal;
  #lone: LoneServer | undefined;
  #lowered: readonly string[] = [];
  #firstWriteMs: number | null = null;

  constructor(options: RescueOptions, journal: RescueJournal) {
    this.#options = options;
    this.#journal = journal;
    const destination = join(nodePaths(this.#dir).nats, "rescue.log");
    this.#log = createLogger({ level: "warn", base: { service: "rescue" }, destination });
  }

  async toItsEnd(): Promise<Rescued> {
    const { dir } = this.#options.survivor;
    writeJournal(dir, this.#journal);
    try {
      for (const step of RESCUE_STEPS) if (!this.#journal.done.includes(step)) await this.#do(step);
    } catch (error) {
      this.#log.error({ err: error }, "the rescue stopped");
      if (this.#journal.done.every((step) => step === "copy") && isRefusal(error)) this.#takeBack();
      throw error;
    } finally {
      await this.#lone?.stop();
    }
    rmSync(nodePaths(dir).rescue);
    const { id, off, formation } = this.#journal;
    return {
      rescue: id,
      off: off.map(({ id: node, name }) => ({ id: node, name })),
      formation: formation.after,
      lowered: this.#lowered,
      copy: copyOf(dir, this.#journal),
      firstWriteMs: this.#firstWriteMs,
    };
  }

  get #dir(): string {
    return this.#options.survivor.dir;
  }

  async #do(step: RescueStep): Promise<void> {
    this.#options.onStep(step);
    await this.#steps[step]();
    this.#journal = { ...this.#journal, done: [...this.#journal.done, step] };
    writeJournal(this.#dir, this.#journal);
  }

  readonly #steps: Readonly<Record<RescueStep, () => Promise<void>>> = {
    copy: async () => keepCopy(nodePaths(this.#dir).nats, copyOf(this.#dir, this.#journal)),
    group: () => this.#becomeGroupOfOne(),
    streams: () => this.#lowerStreams(),
    intent: () =>
      this.#asCore(async (bus) => {
        await recordIntent(bus, this.#journal, this.#log);
        this.#firstWriteMs = Math.round(systemClock.monotonic() - this.#startedAt);
      }),
    members: () => this.#asCore((bus) => enterMembers(bus, this.#journal)),
    files: () => this.#asCore((bus) => writeFiles(bus, this.#options.survivor, this.#journal)),
    record: () => this.#asCore((bus) => recordEnd(bus, this.#options.survivor.node, this.#journal, this.#log)),
  };

  /** Gives this server its majority back and takes the others out of the group. Does nothing where that is so already. */
  async #becomeGroupOfOne(): Promise<void> {
    const lone = await this.#alone();
    const { secrets, node } = this.#options.survivor;
    const deadline = systemClock.monotonic() + LEADER_MS;
    const system = await this.#system(lone, await createIssuer(secrets.trust).forRescue(node.id));
    try {
      for (;;) {
        const missing = await this.#stepToGroupOfOne(lone, system);
        if (missing === undefined) return;
        if (systemClock.monotonic() > deadline) throw failed(`${missing}; ${lone.logTail()}`);
        await systemClock.sleep(ASK_AGAIN_MS);
      }
    } finally {
      await system.close();
    }
  }

  /** Undefined when it is a group of one, otherwise what is missing; does what brings it nearer. */
  async #stepToGroupOfOne(lone: LoneServer, system: SystemConnection): Promise<string | undefined> {
    const own = serverNameOf(this.#options.survivor.node);
    const group = await lone.group();
    if (!group) return "it does not answer";
    const lost = group.ids.filter((id) => id !== peerIdOf(own));
    this.#requireDeclared(lost);
    if (group.leader !== own) {
      // Lowering it again would put off the election that it waits for.
      const refused = group.quorum > 1 ? await system.lowerQuorum() : undefined;
      return refused ?? "no leader was elected yet";
    }
    if (lost.length === 0 && group.size === 1) return undefined;
    if (lost[0] !== undefined) await system.removeLost(lost[0]);
    // One after the other: each change is taken up by the groups of the streams before the next.
    await systemClock.sleep(SETTLE_MS);
    return "the others are still in the group";
  }

  /** Streams may stay without a leader (ADR-0022): another start has them begin anew, and what that would not help is mended. */
  async #lowerStreams(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#asAdmin(async ({ connection }) => {
          const patienceMs = tries === 1 ? FIRST_STREAMS_MS : STREAMS_MS;
          this.#lowered = (await lowerReplicas(await openAdmin(connection), patienceMs)).lowered;
        });
      } catch (error) {
        if (tries >= STREAMS_TRIES || toDvError(error).code !== "BUS_UNAVAILABLE") throw error;
        const anew = (await this.#lone?.stopAndMend()) ?? [];
        this.#lone = undefined;
        if (anew.length > 0) this.#log.warn({ streams: anew }, "groups that would never have had a leader begin anew");
      }
    }
  }

  /** Whom the group counts has to be whom the operator named: the membership that was read may be older. */
  #requireDeclared(lost: readonly string[]): void {
    const declared = new Set(this.#journal.off.map((member) => peerIdOf(serverNameOf(member))));
    const strangers = lost.filter((id) => !declared.has(id));
    if (strangers.length > 0)
      throw new DvError(
        "RESCUE_REFUSED",
        `The group of servers has members that ${nodePaths(this.#dir).servers} does not name: ${strangers.join(", ")}.`,
      );
  }

  /** What was refused before the group was touched leaves nothing. */
  #takeBack(): void {
    rmSync(nodePaths(this.#dir).rescue, { force: true });
    rmSync(copyOf(this.#dir, this.#journal), { recursive: true, force: true });
  }

  async #alone(): Promise<LoneServer> {
    const { survivor, binary } = this.#options;
    const { server, cluster } = survivor.membership;
    const paths = nodePaths(this.#dir);
    // Without a majority nobody renews, and an expired certificate is refused on this machine as well.
    if (!this.#lone) await renewOwnIfDue(this.#dir, systemClock, this.#log);
    this.#lone ??= await startLone({
      binary,
      dir: paths.nats,
      settings: {
        serverName: serverNameOf(survivor.node),
        clusterName: cluster,
        ...{ port: server.port, clusterPort: server.clusterPort, monitorPort: server.monitorPort },
        trust: server.trust,
        routePassword: this.#journal.routePassword,
        ...(busTls(this.#dir) ? { tls: paths.tls } : {}),
      },
      helperPorts: server.helperPorts,
    });
    return this.#lone;
  }

  async #system({ url }: LoneServer, credential: Credential): Promise<SystemConnection> {
    return await connectSystem(url, credential, CONNECT_MS, busTls(this.#dir));
  }

  async #asAdmin(work: (bus: ConnectedBus) => Promise<void>): Promise<void> {
    const { secrets, node } = this.#options.survivor;
    await this.#connected(await createIssuer(secrets.trust).forStreamAdmin(node.id), work);
  }

  /** Under a credential of discovery, whose entries these are, made for now: those on the disk may be void already. */
  async #asCore(work: (bus: ConnectedBus) => Promise<void>): Promise<void> {
    const { secrets, node } = this.#options.survivor;
    const credential = await createIssuer(secrets.trust).forCore("discovery", node.id, contractsOf("discovery"));
    await this.#connected(credential, work);
  }

  async #connected(credential: Credential, work: (bus: ConnectedBus) => Promise<void>): Promise<void> {
    const { url } = await this.#alone();
    const { node } = this.#options.survivor;
    const tls = busTls(this.#dir);
    const bus = await connectBus({
      servers: [url],
      credential,
      ...(tls ? { tls } : {}),
      origin: "core",
      node: { id: node.id, name: node.name },
      version: VERSION,
      log: this.#log,
      patienceMs: CONNECT_MS,
    });
    try {
      await work(bus);
    } finally {
      await bus.close();
    }
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof DvError && error.code === "RESCUE_REFUSED";
}

function failed(why: string): DvError {
  return new DvError("NATS_SERVER_FAILED", `The server did not become a cluster of one: ${why}.`, {
    details: { hint: "Go on with dvctl cluster rescue --confirm." },
  });
}
