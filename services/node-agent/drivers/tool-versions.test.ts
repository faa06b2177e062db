// SPDX-License-Identifier: Apache-2.0
/** Real programs: one that tells its version, one that is replaced, one that is missing. */
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { locateNats } from "./nats-server.ts";
import { createToolVersions } from "./tool-versions.ts";

function program(folder: string, version: string): string {
  const path = join(folder, "program");
  writeFileSync(path, `#!/bin/sh\necho run >> ${folder}/runs\necho "program: v${version}"\n`);
  chmodSync(path, 0o755);
  return path;
}

test("asks an unchanged program once, and again when it is replaced or the time is over", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dv-tool-"));
  const path = program(folder, "1.2.3");
  let nowMs = 0;
  const tools = createToolVersions({
    monotonic: () => nowMs,
    cacheMs: 1_000,
    locate: async (tool) => await Promise.resolve(tool === "nats-server" ? path : "/no/such/program"),
  });
  const runs = () => readFileSync(join(folder, "runs"), "utf8").split("\n").length - 1;

  const [first, same] = await Promise.all([tools.read(), tools.read()]);
  await tools.read();
  expect(first).toMatchObject({ "nats-server": "1.2.3", ceph: null, git: null });
  expect(same).toEqual(first);
  expect(runs()).toBe(1);

  appendFileSync(path, "# longer\n");
  await tools.read();
  expect(runs()).toBe(2);

  nowMs = 2_000;
  await tools.read();
  expect(runs()).toBe(3);
  expect(await tools.read(AbortSignal.abort())).toMatchObject({ "nats-server": null });
  rmSync(folder, { recursive: true });
});

test("takes the configured nats-server and no other", async () => {
  expect(await locateNats("/no/such/nats-server", tmpdir())).toBeUndefined();
  expect(await locateNats("/bin/sh", tmpdir())).toBe("/bin/sh");
  expect(await locateNats(undefined, tmpdir())).toSatisfy((path) => path === undefined || String(path).startsWith("/"));
});
