// SPDX-License-Identifier: Apache-2.0
/** Every `bin` as a shell starts it: through a symlink, with whatever Node is on PATH. */
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { completionScript } from "./completion.ts";
import { dvctlProgram } from "./dvctl-program.ts";
import { programs } from "./reference.ts";

const packageFile = fileURLToPath(new URL("../package.json", import.meta.url));
const { bin, version } = JSON.parse(readFileSync(packageFile, "utf8")) as {
  bin: Record<string, string>;
  version: string;
};
const folder = mkdtempSync(join(tmpdir(), "dv-bin-"));
afterAll(() => rmSync(folder, { recursive: true }));

const run = promisify(execFile);

/** The Node that a shell finds, which may be older than ours: vitest puts its own first. */
const systemNode =
  ["/usr/bin/node", "/usr/local/bin/node", "/opt/node/bin/node"].find((path) => readable(path)) ?? "node";

function readable(path: string): boolean {
  try {
    readFileSync(path, { flag: "r" }).subarray(0, 1);
    return true;
  } catch {
    return false;
  }
}

describe.each(Object.entries(bin))("%s", (name, file) => {
  // A name with .sh is a link to the program without.
  const program = name.replace(/\.sh$/, "");
  const target = join(packageFile, "..", file);
  const link = join(folder, name);
  symlinkSync(target, link);

  it("starts under the system's Node through a symlink", async () => {
    const { stdout } = await run(systemNode, [link, "--version"]);

    expect(stdout).toBe(`${program} ${version}\n`);
  });

  it("starts by itself", async () => {
    const { stdout } = await run(link, ["--help"]);

    expect(stdout).toContain("USAGE");
  });

  it("passes its exit code on", async () => {
    await expect(run(link, ["--nonsense"], { cwd: folder })).rejects.toMatchObject({ code: 2, stdout: "" });
  });

  it("has a program", () => {
    expect(programs().map((each) => each.name)).toContain(basename(program));
  });
});

it("writes all of it to a reader that is slow", async () => {
  const dvctl = join(packageFile, "..", bin["dvctl"] ?? "");
  // What stands in the pipe already and the script do not fit into the 64 KiB that it holds.
  const filled = `{ head -c 40000 /dev/zero; '${dvctl}' completion fish; } | { sleep 1; tail -c +40001; }`;
  const { stdout } = await run("bash", ["--norc", "-c", filled], { maxBuffer: 1024 * 1024 });

  expect(stdout.length).toBeGreaterThan(30_000);
  expect(stdout).toBe(`${completionScript(dvctlProgram(), "fish")}\n`);
});

it("ends quietly when its reader goes away", async () => {
  const child = spawn(
    "bash",
    ["-c", `set -o pipefail; '${join(packageFile, "..", bin["dvctl"] ?? "")}' errors | head -1`],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let errors = "";
  child.stderr.on("data", (chunk) => (errors += chunk));

  const code = await new Promise((resolve) => child.on("close", resolve));

  expect(errors).toBe("");
  expect(code).toBe(0);
});
