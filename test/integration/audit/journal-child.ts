// SPDX-License-Identifier: Apache-2.0
/** Copies three records to the journal of the namespace that it runs in. */
import { systemClock } from "@debvisor/shared/clock";
import { createLogger } from "@debvisor/shared/log";
import { sampleRecord } from "../../../services/audit/model/record.samples.ts";
import { JournalCopy } from "../../../services/audit/reconcilers/journal-copy.ts";
import { waitFor } from "../../support/wait-for.ts";

const copy = new JournalCopy(systemClock, createLogger({ level: "silent" }));
copy.add(sampleRecord, 1);
copy.add({ ...sampleRecord, kind: "intent", result: null, user: "ann (sudo by root)" }, 2);
copy.add({ ...sampleRecord, reason: "two\nDEBVISOR_ACTOR=root\nlines" }, 3);
await waitFor(
  () => copy.copied === 3,
  10_000,
  () => `three records are copied: ${copy.copied}, ${copy.dropped} dropped`,
);
await copy.stop();
