// SPDX-License-Identifier: Apache-2.0
/**
 * On a worker: asks a server's join port for a new certificate when the old one is due, and for the membership as it is now. Both ends
 * know each other's keys, so nothing else has to be proved.
 */
import { readFileSync } from "node:fs";
import type { TrustHolding } from "@debvisor/proto-events/trust";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain, DvError } from "@debvisor/shared/errors";
import { dialJoin } from "@debvisor/shared/join/dial";
import type { Admission } from "@debvisor/shared/join/messages";
import type { Logger } from "@debvisor/shared/log";
import { json, nodePaths, readMembership, writePrivateFile } from "@debvisor/shared/node-files";
import { createRequest } from "@debvisor/shared/pki/authority";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { VERSION } from "@debvisor/shared/version";
import { writeTls } from "../joining/take-up.ts";
import { isDue } from "../model/certificates.ts";
import type { Holder } from "../operations/trust.ts";
import { clockTeller } from "./clock-teller.ts";
import { holdingIn } from "./trust-follower.ts";

const LOOK_MS = 60_000;
const RETRY_MS = 3_000;
/** Servers come and go: the list of them is asked for anew each hour although the certificate is not due. */
const REFRESH_MS = 3_600_000;

export interface RefresherDeps {
  readonly dir: string;
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Starts asking: at once, each hour, when the certificate is due, and when what it holds is not what is wanted. */
export function startRefresher(deps: RefresherDeps): Closable & Holder {
  const { clock, log, dir } = deps;
  const tell = clockTeller(clock, log);
  const stopping = new AbortController();
  let refreshing: Promise<void> | undefined;
  const refreshOnce = () => {
    refreshing ??= refresh(deps, tell, stopping.signal).finally(() => {
      refreshing = undefined;
    });
    return refreshing;
  };
  const run = (async () => {
    let nextAt = clock.monotonic();
    while (!stopping.signal.aborted) {
      const facts = certificateFacts(readFileSync(nodePaths(dir).tls.certificate, "utf8"));
      if (clock.monotonic() >= nextAt || isDue(facts, clock.now())) {
        try {
          await refreshOnce();
          nextAt = clock.monotonic() + REFRESH_MS;
        } catch (error) {
          log.warn({ cause: causeChain(error) }, "the certificate could not be renewed yet");
        }
      }
      await clock.sleep(LOOK_MS, stopping.signal);
    }
  })();
  return {
    holding: async ({ authorities, issuer }): Promise<TrustHolding> => {
      const held = holdingIn(dir);
      const isWanted = held.issuer === issuer && [...held.authorities].sort().join() === [...authorities].sort().join();
      if (!isWanted) await refreshOnce();
      return { ...holdingIn(dir), keys: [], inForce: true };
    },
    stop: async () => {
      stopping.abort();
      await Promise.race([run, clock.sleep(500)]);
    },
  };
}

/**
 * Asks until the bus is connected: a worker that was off while the authority was replaced believes no server of the bus, but knows the
 * keys of their join ports.
 */
export async function refreshUntilConnected(deps: RefresherDeps, signal: AbortSignal): Promise<void> {
  const { clock, log } = deps;
  const tell = clockTeller(clock, log);
  while (!signal.aborted) {
    await refresh(deps, tell, signal).catch((error: unknown) =>
      log.warn({ cause: causeChain(error) }, "what members believe could not be asked for yet"),
    );
    await clock.sleep(RETRY_MS, signal);
  }
}

/** Asks one server after the other; `tell` hears what time that one has. @throws the last one's error */
async function refresh(deps: RefresherDeps, tell: (right: number) => void, signal: AbortSignal): Promise<void> {
  const { dir } = deps;
  const servers = readMembership(dir)?.joinServers ?? [];
  let last: unknown;
  for (const { host, port } of servers) {
    try {
      const { requestPem, keyPem } = await createRequest();
      const admission = await ask(
        deps,
        { host, port },
        servers.map(({ spki }) => spki),
        requestPem,
        signal,
      );
      writeTls(dir, { ...admission, keyPem });
      writePrivateFile(nodePaths(dir).membership, json(admission.membership));
      tell(admission.timeMs);
      return;
    } catch (error) {
      last = error;
    }
  }
  throw last ?? new DvError("UNAVAILABLE", "No server is known.");
}

async function ask(
  { dir, name }: RefresherDeps,
  place: { host: string; port: number },
  spkis: readonly string[],
  tlsRequest: string,
  signal: AbortSignal,
): Promise<Admission> {
  const channel = await dialJoin({
    ...place,
    identityPem: readFileSync(nodePaths(dir).identity, "utf8"),
    proof: { kind: "member", spkis },
    facts: { name, role: "worker", version: VERSION },
    signal,
  });
  try {
    const answer = await channel.ask({ kind: "refresh", tlsRequest }, 5_000);
    if (answer.kind === "admitted") return answer.admission;
    throw new DvError(
      "UNAVAILABLE",
      answer.kind === "refused" ? answer.message : "The server cannot answer at this moment.",
    );
  } finally {
    channel.close();
  }
}
