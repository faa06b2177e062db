// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { toLook } from "./replica-look.ts";

const AT = 1_795_862_406_000;
const LEADER = "3c2gottdcialf7ha-1";

/** What nats-server 2.15.1 printed; of 13 streams two are kept. */
function sample(command: "jsz" | "healthz"): unknown[] {
  const file = join(import.meta.dirname, "samples", `nats-server-2.15.1-${command}.json`);
  return JSON.parse(readFileSync(file, "utf8")) as unknown[];
}

test("what three servers print is a look at their replicas", () => {
  const look = toLook(sample("jsz"), sample("healthz"), AT);

  expect([...look.servers].sort()).toEqual([LEADER, "45b5skvrjhoutg7z-1", "wt4bkeykt3nvmb62-1"]);
  expect(look.servers[0]).toBe(LEADER);
  expect([...look.answered.values()]).toEqual([undefined, undefined, undefined]);
  expect(look.replicas).toHaveLength(6);
  const events = look.replicas.filter(({ stream }) => stream === "DV_EVENTS");
  for (const replica of events)
    expect(replica).toMatchObject({
      messages: 300,
      first: 1,
      last: 300,
      deleted: 0,
      leader: LEADER,
      group: "S-R3F-O7CNaXZz",
    });
  expect(events.map(({ peers }) => [...peers].sort())).toEqual(events.map(() => [...look.servers].sort()));
});

test("an empty stream begins after its last sequence", () => {
  const leases = toLook(sample("jsz"), sample("healthz"), AT).replicas.filter(
    ({ stream }) => stream === "KV_dv_leases",
  );
  expect(leases[0]).toMatchObject({ messages: 0, first: 1, last: 0, firstAt: undefined });
});

test("a server that does not say whether it is healthy is not taken for healthy", () => {
  const look = toLook(sample("jsz"), sample("healthz").slice(1), AT);
  expect([...look.answered.values()].filter((why) => why !== undefined)).toHaveLength(1);
});
