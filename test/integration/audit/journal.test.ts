// SPDX-License-Identifier: Apache-2.0
/** Records in a real systemd journal: journald and journalctl in a mount namespace of their own. */
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "@debvisor/shared/clock";
import { exec, which } from "@debvisor/shared/exec";
import { createLogger } from "@debvisor/shared/log";
import { expect, test } from "vitest";
import { sampleRecord } from "../../../services/audit/model/record.samples.ts";
import { JournalCopy } from "../../../services/audit/reconcilers/journal-copy.ts";

const here = path.dirname(fileURLToPath(import.meta.url));

test("records are found by journalctl --grep debvisor, with their details as fields", {
  timeout: 60_000,
}, async (context) => {
  const missing = [];
  for (const tool of ["unshare", "journalctl", "logger", "/lib/systemd/systemd-journald"]) {
    if (!(await which(tool))) missing.push(tool);
  }
  if (missing.length > 0) context.skip(`needs ${missing.join(", ")}`);
  const probe = await exec("unshare", ["--mount", "--propagation", "private", "true"], { timeoutMs: 5_000 });
  if (probe.failed) context.skip("needs the right to make a mount namespace");

  const command = [path.join(here, "journald.sh"), process.execPath, path.join(here, "journal-child.ts")];
  const result = await exec("unshare", ["--mount", "--propagation", "private", ...command], { timeoutMs: 40_000 });
  expect(result).toMatchObject({ failed: false });
  const entries = result.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, string>)
    .filter((entry) => entry["SYSLOG_IDENTIFIER"] === "debvisor");

  expect(entries.map((entry) => entry["DEBVISOR_SEQ"])).toEqual(["1", "2", "3"]);
  expect(entries[0]).toMatchObject({
    MESSAGE: "debvisor: operator node-agent.put-file on node-1: ok (greeting)",
    PRIORITY: "5",
    DEBVISOR_ACTOR: "operator",
    DEBVISOR_ACTION: "node-agent.put-file",
    DEBVISOR_TARGETS: "node-1",
    DEBVISOR_RESULT: "ok",
    DEBVISOR_REF: "op-aaaaaaaaaaaaa",
    DEBVISOR_REASON: "greeting",
  });
  expect(entries[1]).toMatchObject({ DEBVISOR_USER: "ann (sudo by root)", DEBVISOR_KIND: "intent" });
  expect(entries[2]).toMatchObject({ DEBVISOR_ACTOR: "operator", DEBVISOR_REASON: "two DEBVISOR_ACTOR=root lines" });
});

test("on a host without journal nothing is copied, and that is said", (context) => {
  if (existsSync("/run/systemd/journal/socket")) context.skip("this host has a journal");
  const copy = new JournalCopy(systemClock, createLogger({ level: "silent" }));

  copy.add(sampleRecord, 1);

  expect(copy).toMatchObject({ isOn: false, copied: 0, dropped: 0 });
});
