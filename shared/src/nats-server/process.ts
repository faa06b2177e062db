// SPDX-License-Identifier: Apache-2.0
/** One nats-server process: start, health, reload, stop. Restarting it after a crash is the supervisor's business. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { clearOtherAccounts, safeTrust } from "./accounts.ts";
import { type NatsServerSettings, natsServerConfig } from "./config.ts";

/** Pause between two looks at a server that is starting. */
const LOOK_MS = 20;
const PEER_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Where a server's files are. */
export interface NatsServerFiles {
  readonly binary: string;
  /** Folder for configuration, log and process id; created when missing. */
  readonly dir: string;
  /** Stem of the file names. */
  readonly name: string;
}

/** A started server. */
export interface NatsProcess {
  readonly pid: number;
  readonly settings: NatsServerSettings;
  /** Resolves when the process has ended. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly hasEnded: boolean;
  /** Last lines of its log. */
  logTail(): string;
  /** Writes a new configuration for the next start; the running server goes on as it is. */
  rewrite(settings: NatsServerSettings): void;
  /**
   * The same, and has the server read it at once (SIGHUP). It forgets which requests its clients have yet to answer, so their
   * answers are refused and the requests time out: for a server that has just started, or for what cannot wait.
   */
  reload(settings: NatsServerSettings): void;
  /** SIGTERM, then SIGKILL after 3 s. */
  stop(): Promise<void>;
}

/** Starts a server. It may not be healthy yet; see `waitForHealth`. @throws NATS_SERVER_FAILED */
export function startNatsProcess(files: NatsServerFiles, settings: NatsServerSettings): NatsProcess {
  for (const dir of [files.dir, settings.storeDir, settings.resolverDir])
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  const configFile = join(files.dir, `${files.name}.conf`);
  const logFile = join(files.dir, `${files.name}.log`);
  const pidFile = join(files.dir, `${files.name}.pid`);
  // A running server refuses a whole new configuration for another JWT of the same operator.
  const { operatorJwt } = settings.trust;
  const rewrite = (next: NatsServerSettings) => {
    const trust = { ...safeTrust(next.trust, next.resolverDir), operatorJwt };
    writeFileSync(configFile, natsServerConfig({ ...next, trust }), { mode: 0o600 });
  };
  killStale(pidFile, configFile);
  rewrite(settings);
  clearOtherAccounts(safeTrust(settings.trust, settings.resolverDir), settings.resolverDir);
  const log = openSync(logFile, "a", 0o640);
  const child = spawn(files.binary, ["-c", configFile], {
    stdio: ["ignore", log, log],
    env: { PATH: "/usr/bin:/bin", GOMAXPROCS: "2" },
  });
  closeSync(log);
  if (child.pid === undefined)
    throw new DvError("NATS_SERVER_FAILED", `nats-server could not be started: ${files.binary}.`);
  writeFileSync(pidFile, String(child.pid));
  const exited = exitOf(child, pidFile);
  return {
    pid: child.pid,
    settings,
    exited,
    get hasEnded() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    logTail: () => tail(logFile),
    rewrite,
    reload: (next) => {
      rewrite(next);
      child.kill("SIGHUP");
    },
    stop: () => stopChild(child, exited),
  };
}

/** Waits until the server says it is healthy, JetStream included. @throws NATS_SERVER_FAILED with the last lines of its log */
export async function waitForHealth(server: NatsProcess, patienceMs: number, signal?: AbortSignal): Promise<void> {
  await waitUntil(() => isHealthy(server), "is not healthy", server, patienceMs, signal);
}

/** Waits until clients and other servers can connect; its streams may have no leader yet. @throws NATS_SERVER_FAILED */
export async function waitUntilListening(server: NatsProcess, patienceMs: number): Promise<void> {
  await waitUntil(() => saysOk(server, "healthz?js-enabled-only=true"), "does not listen", server, patienceMs);
}

async function waitUntil(
  condition: () => Promise<boolean>,
  otherwise: string,
  server: NatsProcess,
  patienceMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = systemClock.monotonic() + patienceMs;
  while (!server.hasEnded && !signal?.aborted && systemClock.monotonic() < deadline) {
    if (await condition()) return;
    await systemClock.sleep(LOOK_MS, signal);
  }
  throw new DvError(
    "NATS_SERVER_FAILED",
    `nats-server ${server.settings.serverName} ${server.hasEnded ? "ended" : otherwise}: ${server.logTail()}`,
  );
}

/** True when `/healthz` says so. */
export async function isHealthy(server: NatsProcess): Promise<boolean> {
  return await saysOk(server, "healthz");
}

async function saysOk(server: NatsProcess, path: string): Promise<boolean> {
  const reply = await monitor(server.settings, path);
  return (reply as { status?: string } | undefined)?.status === "ok";
}

/** Size and leader of the meta group as this server sees it; undefined when it does not answer. */
export async function metaGroup(
  settings: Pick<NatsServerSettings, "monitorPort">,
): Promise<{ size: number; leader: string; quorum: number; peers: string[]; ids: string[] } | undefined> {
  const reply = (await monitor(settings, "jsz?meta=1")) as
    | {
        meta_cluster?: {
          cluster_size?: number;
          leader?: string;
          quorum_needed?: number;
          replicas?: { name: string; peer?: string }[];
        };
      }
    | undefined;
  const meta = reply?.meta_cluster;
  if (!meta) return undefined;
  return {
    size: meta.cluster_size ?? 0,
    leader: meta.leader ?? "",
    /** How many of them are a majority. */
    quorum: meta.quorum_needed ?? 0,
    peers: (meta.replicas ?? []).map(({ name }) => name),
    // A server that was started without the others knows their ids and not their names.
    ids: (meta.replicas ?? []).map(({ name, peer }) => peer ?? peerIdOf(name)),
  };
}

const RaftGroups = z.record(
  z.string(),
  z.record(
    z.string(),
    z.object({
      state: z.string(),
      leader: z.string().default(""),
      size: z.number(),
      ever_had_leader: z.boolean().default(false),
      committed: z.number().default(0),
      applied: z.number().default(0),
      pindex: z.number().default(0),
    }),
  ),
);

/** A group of an account as this server sees it. */
export interface RaftGroup {
  readonly name: string;
  /** `FOLLOWER`, `CANDIDATE`, `LEADER` or what else nats-server says. */
  readonly state: string;
  readonly isLed: boolean;
  /** Since this server started. */
  readonly wasLed: boolean;
  readonly size: number;
  /** Numbers of entries in the group's log: that counts, that the stream has, that is the last. */
  readonly committed: number;
  readonly applied: number;
  readonly last: number;
}

/** The groups of the accounts; undefined when the server does not answer. */
export async function raftGroups({
  monitorPort,
  trust,
}: Pick<NatsServerSettings, "monitorPort" | "trust">): Promise<RaftGroup[] | undefined> {
  const found: RaftGroup[] = [];
  for (const account of Object.keys(trust.accounts)) {
    const reply = RaftGroups.safeParse(await monitor({ monitorPort }, `raftz?acc=${account}`));
    if (!reply.success) return undefined;
    for (const [name, group] of Object.values(reply.data).flatMap((groups) => Object.entries(groups))) {
      const { state, size, committed, applied } = group;
      const isLed = state === "LEADER" || group.leader !== "";
      found.push({ name, state, isLed, wasLed: group.ever_had_leader, size, committed, applied, last: group.pindex });
    }
  }
  return found;
}

/** Under which id nats-server keeps a server of that name in its groups. */
export function peerIdOf(serverName: string): string {
  const digest = createHash("sha256").update(serverName).digest().subarray(0, 8);
  return [...digest].map((byte) => PEER_DIGITS[byte % PEER_DIGITS.length]).join("");
}

async function monitor(settings: Pick<NatsServerSettings, "monitorPort">, path: string): Promise<unknown> {
  try {
    const response = await fetch(`http://127.0.0.1:${settings.monitorPort}/${path}`, {
      signal: AbortSignal.timeout(800),
    });
    return await response.json();
  } catch {
    return undefined;
  }
}

function exitOf(child: ChildProcess, pidFile: string): NatsProcess["exited"] {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      rmSync(pidFile, { force: true });
      resolve({ code, signal });
    });
    child.once("error", () => resolve({ code: 127, signal: null }));
  });
}

async function stopChild(child: ChildProcess, exited: NatsProcess["exited"]): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 3_000);
  await exited;
  clearTimeout(timer);
}

/** Ends a server that a killed predecessor left behind. The process is ours only if its command line names our file. */
function killStale(pidFile: string, configFile: string): void {
  try {
    const pid = Number(readFileSync(pidFile, "utf8"));
    if (pid > 1 && readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(configFile))
      process.kill(pid, "SIGKILL");
  } catch {
    // No file, or no such process: nothing is left behind.
  }
}

function tail(file: string, lines = 4): string {
  try {
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-lines).join(" | ");
  } catch {
    return "(no log)";
  }
}
