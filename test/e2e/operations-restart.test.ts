// SPDX-License-Identifier: Apache-2.0
/** The whole cluster stops and starts: maintenance, history, trials and the trail go on where they were. */
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { rootsOf } from "../support/demo-world.ts";
import { startLocalCluster, temporaryFolder } from "../support/local-cluster.ts";

it("maintenance and operations survive a restart of everything; what was on trial is undone", async () => {
  using folder = temporaryFolder();
  const text = path.join(folder.dir, "text");
  let trial: string;
  let kept: string;
  let roots: ReadonlyMap<string, string>;
  {
    await using before = await startLocalCluster({ dataDir: folder.dir });
    roots = rootsOf(before, await before.nodes());
    const enabled = await before.dvctl("maintenance", "enable", "node-2", "--reason", "disk swap", "--until", "2h");
    expect(enabled.code, enabled.stderr).toBe(0);
    writeFileSync(text, "kept");
    const put = ["nodes", "file", "put", "--from-file", text, "--nodes", "all", "--to"];
    const first = await before.dvctl(...put, "/etc/kept", "--confirm", "--format", "json");
    kept = (JSON.parse(first.stdout) as { id: string }).id;
    trial = (await before.dvctl(...put, "/etc/trial", "--try", "5s", "--confirm", "--detach")).stdout.trim();
    expect(trial).toMatch(/^op-/);
  }

  await using lab = await startLocalCluster({ dataDir: folder.dir });
  const status = await lab.dvctl("maintenance", "status");
  const shown = await lab.dvctl("operations", "show", kept, "--format", "json");
  const end = await lab.dvctl("operations", "wait", trial, "--format", "json");
  const back = await lab.dvctl("operations", "rollback", kept, "--confirm");
  const locks = await lab.dvctl("locks", "list", "--format", "json");
  const verified = await lab.dvctl("audit", "verify", "--signatures");

  expect([status.code, shown.code, end.code, back.code, verified.code], verified.stdout).toEqual([0, 0, 5, 0, 0]);
  expect(status.stdout).toMatch(/node-2 .*disk swap/);
  expect(JSON.parse(shown.stdout)).toMatchObject({ id: kept, state: "succeeded" });
  expect(JSON.parse(end.stdout)).toMatchObject({ id: trial, state: "rolled-back" });
  expect(JSON.parse(locks.stdout)).toMatchObject({ items: [] });
  for (const [name, root] of roots) expect([name, fileNames(root)]).toEqual([name, []]);
});

function fileNames(root: string): readonly string[] {
  return readdirSync(path.join(root, "etc"));
}
