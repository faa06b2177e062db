// SPDX-License-Identifier: Apache-2.0
/** The part of the join port that lets machines wait for somebody to compare words. What it knows is in the bucket: any server may approve. */

import type { WaitingEntry } from "@debvisor/proto-events/membership";
import { NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { JoinFacts } from "@debvisor/shared/join/handshake";
import type { JoinAnswer, JoinMessage } from "@debvisor/shared/join/messages";
import type { Peer } from "@debvisor/shared/join/session";
import type { Logger } from "@debvisor/shared/log";
import { z } from "zod";
import { hasRoom, hindrance, openWaiting, WAITING_LIFE_MS, waitingKey } from "../model/words.ts";
import type { MembershipStore } from "./membership-store.ts";

/** How soon a machine asks again that nobody has approved, in milliseconds. */
const RETRY_MS = 500;

/** What a machine says of itself before anybody has approved it. Later it can ask as nothing else. */
const Claims = z.object({ name: NodeName, role: NodeRole, version: z.string().max(64).default("") });

export interface WordsDeps {
  readonly store: MembershipStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Enters a machine that waits; false when it may not: too many do, or it does not say what it is. @throws BUS_UNAVAILABLE */
export async function enterWaiting({ store, clock, log }: WordsDeps, peer: Peer, facts: JoinFacts): Promise<boolean> {
  const claims = Claims.safeParse(facts);
  const { id, spki, words } = peer;
  if (!claims.success || words === undefined || !hasRoom(openWaiting(store.entries(), clock.now()), id)) return false;
  const entry: WaitingEntry = {
    ...{ kind: "waiting", node: id, key: spki, words, ...claims.data, verdict: null },
    since: timestamp(clock),
    until: new Date(clock.now() + WAITING_LIFE_MS).toISOString(),
  };
  await store.change<WaitingEntry>(waitingKey(id), () => entry, { fresh: true });
  log.info({ node: id, name: entry.name, role: entry.role }, "join: a machine waits for somebody to compare words");
  return true;
}

/** Forgets it: its session is over, and with it what was approved. */
export function leaveWaiting({ store, log }: WordsDeps, peer: Peer): void {
  store
    .forget(waitingKey(peer.id), (entry) => entry.kind === "waiting" && entry.words === peer.words)
    // It is void by then anyway, and goes when its time is over.
    .catch((error: unknown) => log.debug({ node: peer.id, code: toDvError(error).code }, "join: an entry stays"));
}

/** What a session by words is answered until it was approved; undefined from then on. @throws BUS_UNAVAILABLE */
export async function heldBack(
  { store, clock }: WordsDeps,
  peer: Peer,
  message: JoinMessage,
): Promise<JoinAnswer | undefined> {
  const entry = await store.fresh(waitingKey(peer.id));
  const waiting = entry?.kind === "waiting" ? entry : undefined;
  const what = hindrance(
    waiting,
    { words: peer.words, spki: peer.spki },
    message.kind === "join" ? message : undefined,
    clock.now(),
  );
  if (what?.kind === "wait") return { kind: "wait", reason: what.reason, retryMs: RETRY_MS };
  if (what) return { kind: "refused", code: what.code, message: what.message };
  if (message.kind === "standing") return { kind: "wait", reason: "this machine was approved", retryMs: RETRY_MS };
  return undefined;
}
