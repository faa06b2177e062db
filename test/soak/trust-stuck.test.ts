// SPDX-License-Identifier: Apache-2.0
/**
 * A server is away while its certificate of the new authority has to go again: the rotation is stuck, with everything working, until the
 * server is back or somebody gives up. What was given up the next rotation finishes.
 */
import { readFileSync } from "node:fs";
import { nodePaths, readNode } from "@debvisor/shared/node-files";
import { issuerAmong } from "@debvisor/shared/pki/certificate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EventPublisher } from "../support/event-traffic.ts";
import type { LocalCluster } from "../support/local-cluster.ts";
import { Rotation } from "../support/rotation.ts";

/** A step whose target is away is undone for five minutes before a person has to decide. */
const STUCK_MS = 400_000;
const LIMIT = { timeout: STUCK_MS + 240_000 };
let lab: LocalCluster;
let rotation: Rotation;

beforeAll(async () => {
  rotation = await Rotation.start();
  lab = rotation.lab;
}, 120_000);
afterAll(() => lab?.[Symbol.asyncDispose]());

/** A rotation that is stuck because a server went away; it is not the one that runs it, nor the one whose gateway is asked. */
async function stuckRotation() {
  const held = await rotation.heldAfterIssue();
  const away = (await rotation.ownerOf(held.id)) === 3 ? 2 : 3;
  await lab.dvctl("lab", "stop", `node-${away}`);
  await rotation.control("cancel", held.id);
  return { ...held, away, stuck: await rotation.untilState(held.id, ["stuck"], STUCK_MS) };
}

async function bringUp(server: number): Promise<void> {
  await lab.dvctl("lab", "start", `node-${server}`);
  await lab.untilState({ [`node-${server}`]: "alive" }, 60_000);
}

test("it goes on when the server is back", LIMIT, async () => {
  const { id, from, to, away, stuck } = await stuckRotation();
  const shown = await rotation.show();
  const writer = await rotation.connect(4, "node");
  const publisher = new EventPublisher(writer, readNode(rotation.dir(4)).id);
  await publisher.more(20);
  const written = await publisher.stop();
  await writer.close();

  expect(JSON.stringify(stuck)).toContain(`A server has to take up a certificate of the old authority: node-${away}`);
  expect(shown?.authorities).toMatchObject([
    { fingerprint: from, issues: true },
    { fingerprint: to, issues: false },
  ]);
  expect(written.length).toBeGreaterThanOrEqual(20);
  const { tls } = nodePaths(rotation.dir(away));
  expect(issuerAmong(readFileSync(tls.certificate, "utf8"), readFileSync(tls.ca, "utf8"))).toBe(to);

  await bringUp(away);
  await rotation.control("continue", id);

  expect(await rotation.untilEnded(id, 120_000)).toMatchObject({ state: "cancelled" });
  await rotation.untilSettled(from);
});

test("given up, the next rotation finishes it: its plan has the steps that are left", LIMIT, async () => {
  const { id, from, to, away } = await stuckRotation();
  await rotation.control("cancel", id);
  const given = await rotation.untilEnded(id, 60_000);
  await bringUp(away);
  await rotation.untilReady();
  const plan = await rotation.planned();
  const { body } = await rotation.submit();
  const ended = await rotation.untilEnded(body["id"], 120_000);

  expect(given).toMatchObject({ state: "failed", error: { code: "UNDO_FAILED" } });
  expect(plan).toEqual(["issue", "remove"]);
  expect(ended).toMatchObject({ state: "succeeded", result: { missing: [], authority: to } });
  expect(to).not.toBe(from);
  await rotation.untilSettled(to);
});
