// SPDX-License-Identifier: Apache-2.0
/** Archive files of the sealed trail: contiguous, verified, gone on with after a restart. */
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { readLines } from "@debvisor/shared/audit/trail-file";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import { expect, test } from "vitest";
import { startBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { anchorOf, asker, scribe, seal, startAudit } from "./rig.ts";

const spanOf = (name: string) => name.replace(".jsonl", "").split("-").map(Number) as [number, number, number];

test("sealed records are archived in files that verify, one after the other", { timeout: 90_000 }, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const config = { archiveEveryRecords: 20, sealEveryMs: 200 };
  const server = await startAudit(cluster, { config });
  const writer = await scribe(cluster);
  const bus = await asker(cluster);
  const folder = path.join(server.stateDir, "archive");
  const files = () =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".jsonl"))
      .map(spanOf)
      .sort((a, b) => a[1] - b[1]);
  const write = async (count: number) => {
    for (let n = 0; n < count; n++) await writer.write();
  };
  const archived = (count: number) =>
    waitFor(
      () => files().length >= count,
      20_000,
      () => `${count} files: ${files().join("; ")}`,
    );

  await write(25);
  await archived(1);
  await write(25);
  await archived(2);
  await server.running.stop();
  writeFileSync(path.join(folder, "next.tmp"), "half of a file");
  await startAudit(cluster, { config, id: server.id, stateDir: server.stateDir });
  await write(25);
  await archived(3);

  const spans = files();
  expect(spans[0]?.[1]).toBe(1);
  for (const [index, [, from]] of spans.slice(1).entries()) expect(from).toBe((spans[index]?.[2] ?? 0) + 1);
  for (const [generation, from, to] of spans) {
    const file = path.join(folder, `${generation}-${from}-${to}.jsonl`);
    const report = await verifyTrail(readLines(file), { signatures: true, operator: anchorOf(cluster).operator });
    expect(report).toMatchObject({ ok: true, from, records: to - from + 1, sealedUpTo: to, findings: [] });
  }
  expect((await seal(bus)).notes.join()).toContain(`up to record ${spans.at(-1)?.[2]}`);
});
