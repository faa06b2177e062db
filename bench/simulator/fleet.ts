// SPDX-License-Identifier: Apache-2.0
/**
 * The fleet simulator: many agents, each with its own connection to the bus and its own node credential, in a few processes.
 * Tests use it too; see `faults.ts` for agents that misbehave and for the census they must lead to.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CredentialIssuer } from "@debvisor/shared/bus/trust";
import { type Child, startChild } from "../child.ts";
import { stopOnSignal } from "../stop-on-signal.ts";
import type { AgentSpec } from "./agent.ts";
import { assignBehaviours, type Behaviour, type FaultFractions } from "./faults.ts";
import { identityOf } from "./identity.ts";
import { registerAgents } from "./registry.ts";
import type { AgentIdentity } from "./replies.ts";

/** How to start a fleet. */
export interface FleetOptions {
  readonly agents: number;
  /** `host:port` of the bus. */
  readonly servers: readonly string[];
  readonly issuer: CredentialIssuer;
  /** Number of the first agent; a second fleet on the same bus starts after the first. */
  readonly firstIndex?: number;
  /** Pause between heartbeats of one agent in milliseconds; 0 (default) sends none. */
  readonly heartbeatMs?: number;
  readonly faults?: FaultFractions;
  /** Delay of the answers of `slow` agents; default 500. */
  readonly slowMs?: number;
  /** Whether to write the agents into the node registry; default true. Without it they appear by their heartbeats. */
  readonly register?: boolean;
  readonly perProcess?: number;
}

/** How long the parts of the start took, and what the agents' processes weigh. */
export interface FleetTimes {
  readonly credentialsMs: number;
  readonly connectMs: number;
  readonly registerMs: number;
  readonly rssBytes: number;
}

/** A running fleet. */
export interface Fleet extends AsyncDisposable {
  readonly ids: readonly string[];
  readonly names: readonly string[];
  /** Behaviour of each agent, in the order of `ids`. */
  readonly behaviours: readonly Behaviour[];
  readonly times: FleetTimes;
  /** Requests that the agents have received so far. */
  asked(): Promise<number>;
  stop(): Promise<void>;
}

const DEFAULT_PER_PROCESS = 2_500;

/** Starts a fleet; resolves when every agent is connected, subscribed and registered. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { firstIndex = 0, heartbeatMs = 0, slowMs = 500, perProcess = DEFAULT_PER_PROCESS } = options;
  const bootId = randomUUID();
  const behaviours = assignBehaviours(options.agents, options.faults ?? {});
  const identities = behaviours.map((_, i) => identityOf(firstIndex + i));
  const issued = await timed(() => issueAll(options.issuer, identities, behaviours));
  const logDir = mkdtempSync(join(tmpdir(), "dv-fleet-"));
  const processes: Child[] = [];
  const stop = async () => {
    forget();
    await Promise.all(processes.map((child) => child.call("stop").catch(() => undefined)));
    await Promise.all(processes.map((child) => child.stop()));
    rmSync(logDir, { recursive: true, force: true });
  };
  const forget = stopOnSignal(stop);
  try {
    // Before the first heartbeat, or the registry enters some of the agents itself.
    const registered = await timed(async () => {
      if (options.register !== false) await registerAgents(identities, { ...options, bootId });
    });
    const connected = await timed(() =>
      Promise.all(
        chunks(issued.value, perProcess).map((specs, i) => {
          const child = startChild("simulator/worker.ts", join(logDir, `worker-${i}.log`));
          processes.push(child);
          const agentOptions = { servers: options.servers, slowMs, bootId };
          return child.call<{ rssBytes: number }>("start", { specs, options: agentOptions, heartbeatMs });
        }),
      ),
    );
    return {
      ids: identities.map(({ id }) => id),
      names: identities.map(({ name }) => name),
      behaviours,
      times: {
        credentialsMs: issued.ms,
        connectMs: connected.ms,
        registerMs: registered.ms,
        rssBytes: sum(connected.value.map(({ rssBytes }) => rssBytes)),
      },
      asked: async () =>
        sum(
          (await Promise.all(processes.map((child) => child.call<{ asked: number }>("stats")))).map(
            ({ asked }) => asked,
          ),
        ),
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function issueAll(
  issuer: CredentialIssuer,
  identities: readonly AgentIdentity[],
  behaviours: readonly Behaviour[],
): Promise<AgentSpec[]> {
  return Promise.all(
    identities.map(async ({ id, name }, i) => {
      const { creds } = await issuer.forNode(id);
      return { id, name, creds, behaviour: behaviours[i] ?? "good" };
    }),
  );
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; ms: number }> {
  const from = performance.now();
  const value = await work();
  return { value, ms: Math.round(performance.now() - from) };
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
