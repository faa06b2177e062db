// SPDX-License-Identifier: Apache-2.0
/** The order in which nats-server is looked for. The programs are real executables that print a version. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { locateNatsServer } from "./locate.ts";

let folder: string;
let lines: string[];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "debvisor-locate-"));
  lines = [];
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function program(name: string, output: string): Promise<string> {
  const file = path.join(folder, name, "nats-server");
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `#!/bin/sh\necho '${output}'\n`);
  await chmod(file, 0o755);
  return file;
}

async function locate(env: Record<string, string>): ReturnType<typeof locateNatsServer> {
  return await locateNatsServer({
    cacheDir: path.join(folder, "cache"),
    fetch: false,
    log: (line) => lines.push(line),
    env,
  });
}

describe("locateNatsServer", () => {
  it("takes what NATS_SERVER names before anything else", async () => {
    const named = await program("named", "nats-server: v2.15.0");
    await program("bin", "nats-server: v2.16.3");

    const found = await locate({ NATS_SERVER: named, PATH: path.join(folder, "bin") });

    expect(found).toEqual({ path: named, version: "2.15.0", source: "env" });
  });

  it.each([
    ["too old", "nats-server: v2.14.9"],
    ["another program", "hello"],
  ])("refuses a named program that is %s instead of looking further", async (_title, output) => {
    const named = await program("named", output);
    await program("cache", "nats-server: v2.15.1");

    await expect(locate({ NATS_SERVER: named, PATH: "" })).rejects.toMatchObject({ code: "NATS_SERVER_MISSING" });
  });

  it("passes over an old one on PATH and says so", async () => {
    const old = await program("old", "nats-server: v2.9.25");
    const current = await program("current", "nats-server: v2.15.1");

    const found = await locate({ PATH: [path.dirname(old), path.dirname(current)].join(":") });

    expect(found).toEqual({ path: current, version: "2.15.1", source: "path" });
    expect(lines).toEqual([`passing over ${old}: it is 2.9.25`]);
  });

  it("takes the cached one when PATH has none", async () => {
    const cached = await program("cache", "nats-server: v3.0.0-RC.1");

    const found = await locate({ PATH: "" });

    expect(found).toEqual({ path: cached, version: "3.0.0-RC.1", source: "cache" });
  });

  it("answers NATS_SERVER_MISSING when there is none and fetching is not wanted", async () => {
    await expect(locate({ PATH: "" })).rejects.toMatchObject({ code: "NATS_SERVER_MISSING", kind: expect.any(String) });
  });
});
