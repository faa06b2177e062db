// SPDX-License-Identifier: Apache-2.0
/**
 * Nodes that are removed from a real bus of three servers: a worker is cut within 2 s and for good; of the servers a lost one goes, and
 * one that is needed does not (RULES.md 8, 16 and 19).
 */
import type { Operation } from "@debvisor/proto-events/durable";
import type { Credential } from "@debvisor/shared/bus/trust";
import { userKeyOf } from "@debvisor/shared/bus/user-keys";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { NodeRecord } from "../../../services/discovery/model/registry.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { idOf, type RemovalRig, startRemovalRig } from "./removal-rig.ts";

const LIMIT = { timeout: 60_000 };
const cluster = sharedBusCluster({ servers: 3 });
let rig: RemovalRig;

beforeAll(async () => {
  rig = await startRemovalRig(cluster());
}, 60_000);
afterAll(() => rig?.stop());

const stepsOf = ({ plan }: Operation) => plan.steps.map(({ id }) => id);
const failed = ({ plan }: Operation) => plan.checks.filter(({ status }) => status === "failed").map(({ id }) => id);

/** Whether each server lets a credential in. */
async function letIn(credential: Credential): Promise<boolean[]> {
  return await Promise.all(
    cluster().urls.map((url) =>
      cluster()
        .connectBare(credential, [url])
        .then(() => true)
        .catch(() => false),
    ),
  );
}

test(
  "a worker is cut within 2 s, cannot come back, and removing it again does nothing",
  LIMIT,
  async ({ annotate }) => {
    const id = randomNodeId();
    const credential = await cluster().issuer.forNode(id);
    await rig.enter(id, "worker", userKeyOf(credential));
    const connection = await cluster().connectBare(credential);
    const other = await cluster().connectBare(await cluster().issuer.forNode(randomNodeId()));

    const startedAt = performance.now();
    const [done] = await Promise.all([rig.remove(`n-${id}`), connection.closed()]);
    const ms = Math.round(performance.now() - startedAt);
    const again = await rig.remove(`n-${id}`);

    expect(stepsOf(done)).toEqual(["close", "membership", "cut", "entry"]);
    expect(done).toMatchObject({ state: "succeeded", changed: true, undoable: false, result: { missing: [] } });
    expect(ms).toBeLessThan(2_000);
    expect(await letIn(credential)).toEqual([false, false, false]);
    expect(other.isClosed()).toBe(false);
    expect(rig.members.member(id)).toMatchObject({
      state: "removed",
      generation: 3,
      removed: { actor: "ann", reason: "sold" },
    });
    expect(rig.members.cluster().unattendedUntil).toBeNull();
    expect(await rig.store.read(id)).toSatisfy(
      (record: NodeRecord | undefined) => record === undefined || record.deleted,
    );
    expect(again).toMatchObject({ state: "succeeded", changed: false, plan: { steps: [] } });
    expect(again.plan.checks[0]?.message).toContain("already removed by ann");
    await annotate(`removed and cut in ${ms} ms`);
  },
);

test("of three servers none that lives may go, a lost one may, and of the two that are left none", LIMIT, async () => {
  const gone = cluster().server(2);
  const [first = "", second = "", lost = ""] = cluster().servers.map(({ name }) => idOf(name));
  expect(failed(await rig.remove(lost, "plan"))).toEqual(["servers.quorum"]);
  await expect(rig.remove(lost)).rejects.toMatchObject({ code: "CHECK_FAILED" });

  await cluster().retire(gone);
  await rig.lose(lost);
  // Readers of the registry begin anew after the loss of the server that they were with.
  await vi.waitFor(() => rig.remove(lost, "plan"), { timeout: 20_000 });
  const done = await rig.remove(lost);

  expect(stepsOf(done)).toEqual(["membership", "cut", "peer", "entry"]);
  expect(done).toMatchObject({ state: "succeeded", error: null });
  expect(await rig.peers()).toEqual([`${first}-1`, `${second}-1`].sort());
  expect(failed(await rig.remove(first, "plan"))).toContain("servers.quorum");
});
