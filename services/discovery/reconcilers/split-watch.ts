// SPDX-License-Identifier: Apache-2.0
/**
 * Looks for a second formation of this cluster id on the LAN (RULES.md 5): an instance that shows our tag and is no member (any more) is asked,
 * once both have proved themselves, to which formation it belongs. Another one is told of, and never merged with.
 */
import { clusterContract } from "@debvisor/proto-events/cluster";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import type { Mdns } from "@debvisor/shared/drivers/mdns";
import type { Candidate } from "@debvisor/shared/drivers/mdns-candidates";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { dialJoin } from "@debvisor/shared/join/dial";
import type { Logger } from "@debvisor/shared/log";
import { VERSION } from "@debvisor/shared/version";
import { DialRate } from "../joining/dial-rate.ts";
import type { MembershipStore } from "./membership-store.ts";

const LOOK_MS = 10_000;
/** A second formation that is still there is told of again after so long, in milliseconds. */
const AGAIN_MS = 3_600_000;

export interface SplitWatchDeps {
  readonly store: MembershipStore;
  readonly bus: Bus;
  readonly mdns: Mdns;
  readonly identityPem: string;
  readonly secret: Buffer;
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Starts looking. */
export function startSplitWatch(deps: SplitWatchDeps): Closable {
  const stopping = new AbortController();
  const strangers = new Map<string, Candidate>();
  const told = new Map<string, number>();
  const rate = new DialRate(deps.clock);
  const browse = deps.mdns.browse(({ kind, candidate }) => {
    if (kind === "gone" || !candidate.verified) strangers.delete(candidate.instance);
    else strangers.set(candidate.instance, candidate);
  });
  const run = (async () => {
    while (!stopping.signal.aborted) {
      for (const candidate of strangers.values()) {
        if (belongs(deps, candidate.instance)) continue;
        await rate.turn(stopping.signal);
        if (stopping.signal.aborted) return;
        await look(deps, candidate, told, stopping.signal);
      }
      await deps.clock.sleep(LOOK_MS, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      browse.stop();
      await Promise.race([run, deps.clock.sleep(500)]);
    },
  };
}

/** A removed one is a stranger: servers that were declared off may come back and go on as the formation that they know. */
function belongs({ store }: SplitWatchDeps, instance: string): boolean {
  return (store.member(instance)?.state ?? "removed") !== "removed";
}

async function look(
  deps: SplitWatchDeps,
  { instance, addresses, port }: Candidate,
  told: Map<string, number>,
  signal: AbortSignal,
): Promise<void> {
  const { store, bus, clock, log } = deps;
  const [host] = addresses;
  if (host === undefined || (told.get(instance) ?? 0) > clock.monotonic()) return;
  try {
    const other = await formationOf(deps, host, port, signal);
    const { formation, cluster } = store.cluster();
    if (other === null || other === formation) return;
    told.set(instance, clock.monotonic() + AGAIN_MS);
    const alarm = new DvError(
      "FORMATION_SPLIT",
      `Node ${instance} belongs to formation ${other} of cluster ${cluster}; this one is ${formation}.`,
    );
    log.error({ code: alarm.code, node: instance, other }, alarm.message);
    await bus.publishEvent(
      clusterContract,
      "formation.doubled",
      { formation, other, node: instance },
      { subject: instance, patienceMs: 5_000 },
    );
  } catch (error) {
    // Whoever waits to join answers soon, or is a stranger that copied a tag.
    log.debug({ node: instance, code: toDvError(error).code }, "join: a stranger could not be asked");
  }
}

async function formationOf(
  { identityPem, secret, store, name }: SplitWatchDeps,
  host: string,
  port: number,
  signal: AbortSignal,
): Promise<string | null> {
  const channel = await dialJoin({
    ...{ host, port, identityPem, cluster: store.cluster().cluster, signal },
    proof: { kind: "secret", secret },
    facts: { name, role: "server", version: VERSION },
  });
  try {
    const answer = await channel.ask({ kind: "formation" }, 5_000);
    return answer.kind === "formation" ? answer.formation : null;
  } finally {
    channel.close();
  }
}
