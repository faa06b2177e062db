// SPDX-License-Identifier: Apache-2.0
/**
 * The clock by which a server decides and signs: that of the majority of the servers, as their heartbeats tell it, where three can be
 * heard; else its own. The clock of the machine is not set.
 */
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import { agreedTime } from "../model/agreed-time.ts";
import { servingMembers } from "../model/membership.ts";
import type { Live } from "../model/registry.ts";
import { clockTeller } from "./clock-teller.ts";
import type { MembershipStore } from "./membership-store.ts";

/** A heartbeat that is older says nothing of a clock that may have been set since. */
const FRESH_MS = 15_000;

/** A clock that knows whether others agree with it. */
export interface AgreedClock extends Clock {
  /** Whether the time of `now` is that of a majority. */
  readonly isAgreed: boolean;
}

export interface AgreedClockDeps {
  readonly clock: Clock;
  readonly store: Pick<MembershipStore, "members">;
  /** The last heartbeat of a node. */
  readonly live: (id: string) => Pick<Live, "heardAt" | "heartbeat"> | undefined;
  readonly node: string;
  readonly log: Logger;
}

/** See above. */
export function agreedClock({ clock, store, live, node, log }: AgreedClockDeps): AgreedClock {
  const tell = clockTeller(clock, log);
  const agreed = () => {
    const at = clock.monotonic();
    const others = servingMembers(store.members()).flatMap(({ id }) => {
      const last = id === node ? undefined : live(id);
      return last && at - last.heardAt <= FRESH_MS ? [Date.parse(last.heartbeat.time) + at - last.heardAt] : [];
    });
    const time = agreedTime(clock.now(), others);
    if (time !== undefined) tell(time);
    return time;
  };
  return {
    now: () => agreed() ?? clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
    get isAgreed() {
      return agreed() !== undefined;
    },
  };
}
