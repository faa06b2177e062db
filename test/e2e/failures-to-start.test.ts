// SPDX-License-Identifier: Apache-2.0
/** Starts that cannot succeed: one clear line and the right exit code, and nothing left behind. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { expect, test } from "vitest";
import { freeBasePort } from "../support/free-ports.ts";
import {
  processesMentioning,
  runCommand,
  runLauncher,
  startLocalCluster,
  temporaryFolder,
} from "../support/local-cluster.ts";

const START = path.resolve(import.meta.dirname, "../../apps/lab/bin/start.cjs");

test("a busy port is named and nothing is started", async () => {
  using folder = temporaryFolder();
  const port = await freeBasePort();
  const blocker = createServer();
  await new Promise<void>((resolve) => blocker.listen(port + 1, "127.0.0.1", resolve));

  const { code, stderr } = await runLauncher(["--data", folder.dir, "--port", String(port)]);
  blocker.close();

  expect(code).toBe(5);
  expect(stderr).toContain(`Port ${port + 1} is in use`);
  expect(await processesMentioning(folder.dir)).toEqual([]);
});

test.each([
  [["--nodes", "0"], "--nodes"],
  [["--nodes", "three"], "--nodes"],
  [["--port", "99999"], "--port"],
  [["--colour"], "--colour"],
])("a wrong flag (%j) is refused with exit code 2", async (flags, named) => {
  using folder = temporaryFolder();

  const { code, stderr } = await runLauncher(["--data", folder.dir, ...flags]);

  expect(code).toBe(2);
  expect(stderr).toContain(named);
});

test("a missing nats-server that cannot be fetched ends with one line", async () => {
  using folder = temporaryFolder();

  const { code, stderr } = await runCommand(
    "node",
    [START, "--data", folder.dir, "--port", String(await freeBasePort())],
    { NATS_SERVER: "/nowhere/nats-server" },
  );

  expect(code).toBe(4);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain("/nowhere/nats-server");
});

test.each([
  ["cluster.json", "{"],
  ["cluster.json", '{"version":1}'],
])("a damaged %s (%s) is named, and kept as it is", async (file, content) => {
  using folder = temporaryFolder();
  const lab = await startLocalCluster({ dataDir: folder.dir, flags: ["--nodes", "1"] });
  await lab.stop();
  writeFileSync(path.join(folder.dir, file), content);

  const { code, stderr } = await runLauncher(["--data", folder.dir, "--port", String(await freeBasePort())]);

  expect(code).toBe(6);
  expect(stderr).toContain(file);
});

test("a node whose key was exchanged is refused", async () => {
  using folder = temporaryFolder();
  const lab = await startLocalCluster({ dataDir: folder.dir, flags: ["--nodes", "1"] });
  await lab.stop();
  const nodes = path.join(folder.dir, "nodes");
  const [id = ""] = readdirSync(nodes);
  mkdirSync(path.join(nodes, id), { recursive: true });
  writeFileSync(path.join(nodes, id, "identity.pem"), "no key");

  const { code, stderr } = await runLauncher(["--data", folder.dir, "--port", String(await freeBasePort())]);

  expect(code).toBe(6);
  expect(stderr).toContain("identity.pem");
});

test("a second launcher on the same folder is refused and the first goes on", async () => {
  await using lab = await startLocalCluster({ flags: ["--nodes", "1"] });

  const { code, stderr } = await runLauncher(["--data", lab.dataDir, "--port", String(await freeBasePort())]);

  expect(code).toBe(5);
  expect(stderr).toContain("LAB_RUNNING");
  expect((await lab.dvctl("nodes", "list")).code).toBe(0);
});
