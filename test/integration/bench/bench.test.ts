// SPDX-License-Identifier: Apache-2.0
/** The bench keeps working: every measure gives well-formed figures in a quick run. What the figures say is not judged here. */
import path from "node:path";
import { execa } from "execa";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { isInstalled } from "../../../tools/test-requirements.ts";

const ROOT = path.resolve(import.meta.dirname, "../../..");

const Line = z.object({
  measure: z.string(),
  bare: z.number().nullable(),
  ours: z.number().positive(),
  ratio: z.number().positive().nullable(),
  goal: z.string(),
  met: z.boolean(),
  unit: z.string(),
  n: z.number().int().positive(),
});

async function quickRun(...names: string[]): Promise<string[]> {
  const script = path.join(ROOT, "bench/main.ts");
  const { stdout } = await execa(process.execPath, [script, ...names, "--quick"], { stdin: "ignore", timeout: 55_000 });
  return stdout.split("\n").map((line) => Line.parse(JSON.parse(line)).measure);
}

describe("npm run bench -- --quick", () => {
  it("measures reads and fan-outs against the bare paths", async () => {
    expect(await quickRun("gateway-read", "fan-out")).toEqual([
      "gateway-read/fan-out-route",
      "gateway-read/core-route",
      "fan-out",
    ]);
  });

  it("measures the cost per node and the delivery of events", async () => {
    expect(await quickRun("cost-per-node", "events")).toEqual([
      "cost-per-node/10",
      "cost-per-node/50",
      "cost-per-node/200",
      "cost-per-node",
      "events/burst",
      "events/one-at-a-time",
    ]);
  });

  it.skipIf(!["named", "dig", "nsupdate"].every(isInstalled))("measures changes of DNS records", async () => {
    expect(await quickRun("dns")).toEqual(["dns/change", "dns/change-set", "dns/clients", "dns/propagation"]);
  });

  it("measures the local cluster", async () => {
    expect(await quickRun("local-cluster")).toEqual(["local-cluster/idle-memory", "local-cluster/cold-start"]);
  });
});
