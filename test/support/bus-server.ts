// SPDX-License-Identifier: Apache-2.0
/** One real nats-server of a test's bus, run by `BusMember` as on a node, and what is needed to be rid of it. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { NatsServerTls } from "@debvisor/shared/nats-server/config";
import { BusMember, type MemberOptions, type ServerChanges } from "@debvisor/shared/nats-server/member";
import { rebuildAsAsked } from "@debvisor/shared/nats-server/rebuild";

const HOST = "127.0.0.1";

/** A server of the bus as a test sees it. */
export interface BusServer {
  /** Name among the servers. */
  readonly name: string;
  /** `host:port` for clients. */
  readonly url: string;
  /** `host:port` for other servers. */
  readonly route: string;
  /** Process id; undefined while there is none. */
  readonly pid: number | undefined;
  /** Its certificate files; undefined in a bus without TLS. */
  readonly tls: NatsServerTls | undefined;
  /** kill -9. The member starts the server again by itself after 200 ms or more. */
  kill(): void;
  /** Stops the server in an orderly way; it stays stopped. */
  stop(): Promise<void>;
  /** Starts a stopped server; resolves when it is healthy. */
  start(): Promise<void>;
  /** Tells the server who is there; takes effect at once. */
  setRoutes(routes: readonly string[]): void;
  /** Has the server read its certificate files again. */
  takeUpCertificates(): Promise<void>;
  /** Tells the server what changed; for its next start, a new password between servers at once. */
  adopt(changes: Partial<ServerChanges>): void;
  /** Folder of its store. */
  readonly store: string;
  /** Rebuilds replicas when these files ask for it, as whoever runs a node's server does. */
  rebuildAsAsked(files: { readonly asked: string; readonly answer: string }): Promise<void>;
  /** Resolves when a server with another process id than `pid` says that it is healthy. */
  recovered(pid: number | undefined, patienceMs?: number): Promise<void>;
}

/** Makes a server. `routes` are the cluster listeners of all servers, its own included; `others` is asked at every start. */
export function busServer(options: MemberOptions, others: () => readonly string[]): BusServer {
  let member = new BusMember(options);
  const { settings } = options;
  return {
    name: settings.serverName,
    url: `${settings.host}:${settings.port}`,
    route: `${settings.host}:${settings.clusterPort}`,
    get pid() {
      return member.pid;
    },
    tls: settings.tls,
    kill: () => {
      if (member.pid !== undefined) process.kill(member.pid, "SIGKILL");
    },
    stop: () => member.stop(),
    start: () => {
      const { routes, trust, routePassword } = member.settings;
      const next = { ...settings, routes, trust, routePassword };
      member = new BusMember({ ...options, settings: next, others: others() });
      return routes.length > 1 ? member.join() : member.startAlone();
    },
    setRoutes: (routes) => member.setRoutes(routes),
    adopt: (changes) => member.adopt(changes),
    takeUpCertificates: () => member.takeUpCertificates(),
    store: path.join(options.dir, "jetstream"),
    rebuildAsAsked: (files) => {
      member.adopt({ others: others() });
      return rebuildAsAsked(files, member, options.log);
    },
    recovered: async (pid, patienceMs = 30_000) => {
      const deadline = performance.now() + patienceMs;
      while (member.pid === pid || !(await isHealthy(settings.monitorPort))) {
        if (performance.now() > deadline)
          throw new Error(`${settings.serverName} did not come back in ${patienceMs} ms`);
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
    },
  };
}

async function isHealthy(monitorPort: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${HOST}:${monitorPort}/healthz`, { signal: AbortSignal.timeout(800) });
    return response.ok;
  } catch {
    return false;
  }
}

/** Kills every process whose id stands in a `.pid` file below `dir`; for a test run that ends without disposing. */
export function killLeftovers(dir: string): void {
  for (const file of filesBelow(dir, ".pid")) {
    try {
      const pid = Number(readFileSync(file, "utf8"));
      if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(dir)) process.kill(pid, "SIGKILL");
    } catch {
      // Ended meanwhile.
    }
  }
}

/** Absolute paths of the files below `dir` whose names end so. */
export function filesBelow(dir: string, ending: string): string[] {
  try {
    const names = readdirSync(dir, { recursive: true, encoding: "utf8" });
    return names.filter((name) => name.endsWith(ending)).map((name) => path.join(dir, name));
  } catch {
    return [];
  }
}
