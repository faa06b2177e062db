// SPDX-License-Identifier: Apache-2.0
/** The BIND that docs/guides/dns.md starts, as it is written there, on free ports. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { test as base, expect } from "vitest";
import { freePorts } from "../../support/free-ports.ts";
import { waitFor } from "../../support/wait-for.ts";
import { lacking } from "./rig.ts";

const test = base.skipIf(lacking.length > 0);
const run = promisify(execFile);
const guide = readFileSync(path.join(import.meta.dirname, "../../../docs/guides/dns.md"), "utf8");

/** Processes whose command line names a folder. */
function processesOf(dir: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(dir);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function answers(port: number, key: string, ...lines: string[]): Promise<string> {
  if (lines.length > 0) {
    const update = run("nsupdate", ["-k", key]);
    update.child.stdin?.end([`server 127.0.0.1 ${port}`, ...lines, "send", ""].join("\n"));
    await update;
  }
  const asked = ["-r", "@127.0.0.1", "-p", String(port), "+short", "+norec", "web1.debvisor.local", "A"];
  return (await run("dig", asked)).stdout.trim();
}

test("the script of the guide starts a primary that takes the key, and a secondary that follows", async () => {
  const [, script = ""] = /```sh\n(mkdir [\s\S]*?)```/.exec(guide) ?? [];
  const [first = 0, second = 0] = await freePorts(2);
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-guide-"));
  try {
    await run("bash", ["-euc", script.replaceAll("5301", String(first)).replaceAll("5302", String(second))], {
      cwd: dir,
    });
    const key = path.join(dir, "dns-demo/dv-2026.key");
    await waitFor(
      async () => (await answers(second, key).catch(() => "away")) !== "away",
      10_000,
      () => "the secondary does not answer",
    );

    await answers(first, key, "zone debvisor.local", "update add web1.debvisor.local 300 A 192.168.1.100");

    await waitFor(
      async () => (await answers(second, key)) === "192.168.1.100",
      20_000,
      () => "the secondary does not follow",
    );
    expect(processesOf(dir)).toHaveLength(2);
  } finally {
    for (const pid of processesOf(dir)) process.kill(pid, "SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
});

test("the configuration of BINDs on members is one that BIND takes", async () => {
  const [keys = "", ...configs] = [...guide.matchAll(/```conf\n([\s\S]*?)```/g)].map(([, text = ""]) => text);
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-guide-"));
  try {
    const file = path.join(dir, "debvisor.keys");
    writeFileSync(file, keys);
    for (const [i, text] of configs.entries()) {
      const config = path.join(dir, `named-${i}.conf`);
      writeFileSync(config, text.replace("/etc/bind/debvisor.keys", file));
      await run("named-checkconf", [config]);
    }
    expect(configs).toHaveLength(2);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
