// SPDX-License-Identifier: Apache-2.0
/** A disk that was copied to another machine: the node's key is of no use there until somebody has said what the machine is. */
import { existsSync, rmSync } from "node:fs";
import { nodePaths, readNode } from "@debvisor/shared/node-files";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isInstalled } from "../../../tools/test-requirements.ts";
import { Machine } from "../../support/machine.ts";
import { waitFor } from "../../support/wait-for.ts";

const ELSEWHERE = "0123456789abcdef0123456789abcdef";
const PATIENCE_MS = 20_000;
const lacking = [...(process.getuid?.() === 0 ? [] : ["root"]), ...(isInstalled("unshare") ? [] : ["unshare"])];

let original: Machine;

async function untilLogged(machine: Machine, what: RegExp): Promise<void> {
  await waitFor(
    () => what.test(machine.log),
    PATIENCE_MS,
    () => `${what}; it logged ${machine.log.slice(-3_000)}`,
  );
}

describe.skipIf(lacking.length > 0)(`a copy (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  beforeAll(async () => {
    original = await Machine.create("node-1");
    const founded = await original.dvctl(
      ...["cluster", "init", "--single", "--id", "lab1", "--etc", original.etc],
      ...original.flags,
    );
    expect(founded).toMatchObject({ code: 0 });
  });
  afterAll(async () => {
    await original?.[Symbol.asyncDispose]();
  });

  it("runs no unit, and is a node of its own after a reset", async () => {
    const { id } = readNode(original.dir);
    await using copy = await original.clone(ELSEWHERE);
    copy.start("bus", "discovery");
    await untilLogged(copy, /bus ended/);
    await untilLogged(copy, /discovery ended/);
    const reset = await copy.dvctl("nodes", "reset", id, "--confirm", "--node-dir", copy.dir, "--etc", copy.etc);
    const { code } = await copy.dvctl(...["cluster", "init", "--single", "--etc", copy.etc], ...copy.flags);

    expect(copy.log.match(/KEY_BOUND_ELSEWHERE/g)).toHaveLength(2);
    expect(copy.log).toContain(`dvctl nodes rebind ${id} --confirm`);
    expect(copy.log).toMatch(/bus ended \([1-9]/);
    expect(existsSync(nodePaths(copy.dir).nats)).toBe(false);
    expect([reset.code, code]).toEqual([0, 0]);
    expect(readNode(copy.dir).id).not.toBe(id);
  });

  it("asks nobody to let it in, and goes on as the same node once somebody has said that it is", async () => {
    const { id } = readNode(original.dir);
    await using copy = await original.clone(ELSEWHERE);
    await using waiting = await original.clone(ELSEWHERE);
    rmSync(nodePaths(waiting.dir).membership);
    const join = await waiting.type("debvisor-join", ["--code", "0123456789", ...waiting.flags]);
    const rebound = await copy.dvctl("nodes", "rebind", id, "--confirm", "--node-dir", copy.dir);
    copy.start("bus", "discovery", "gateway", "node-agent");
    const events = () => copy.dvctl("events", "follow", "--since", "1h", "--until-caught-up", "--json");
    await waitFor(
      async () => (await events()).stdout.includes("node-agent.key.moved"),
      PATIENCE_MS,
      () => `no event; it logged ${copy.log.slice(-3_000)}`,
    );

    expect(join).toMatchObject({ code: 5 });
    expect(join.stderr).toContain("KEY_BOUND_ELSEWHERE");
    expect(rebound.stdout).toContain("recognised by /etc/machine-id");
    expect(readNode(copy.dir).id).toBe(id);
  });
});
