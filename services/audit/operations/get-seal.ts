// SPDX-License-Identifier: Apache-2.0
/** Shows how far the trail is sealed, by whom, and what is wrong with it. */
import type { auditContract } from "@debvisor/proto-events/audit";
import type { Output } from "@debvisor/proto-events/kit";
import { WANTED_WITNESSES } from "../model/witness-choice.ts";
import type { Alarms } from "../reconcilers/alarms.ts";
import type { Archive } from "../reconcilers/archive.ts";
import type { Fullness } from "../reconcilers/fullness.ts";
import type { JournalCopy } from "../reconcilers/journal-copy.ts";
import type { ReadRecorder } from "../reconcilers/read-recorder.ts";
import type { Seals } from "../reconcilers/seals.ts";
import type { Trail } from "../reconcilers/trail.ts";
import type { Witnesses } from "../reconcilers/witnesses.ts";

export interface GetSealDeps {
  readonly trail: Trail;
  readonly seals: Seals;
  readonly alarms: Alarms;
  readonly witnesses: Witnesses;
  readonly reads: ReadRecorder;
  readonly copy: JournalCopy | undefined;
  readonly archive: Archive;
  readonly fullness: Fullness;
}

export function getSealHandler(deps: GetSealDeps) {
  return (): Output<typeof auditContract, "getSeal"> => {
    const { trail, seals, alarms } = deps;
    const { latest } = seals;
    return {
      sealed: latest?.sealed ?? null,
      witnesses: latest?.witnesses.length ?? 0,
      records: trail.size,
      unsealed: Math.max(0, trail.size - (latest?.sealed.checkpoint.size ?? 0)),
      openIntents: trail.open.size,
      alarms: alarms.lines(),
      notes: notesOf(deps),
    };
  };
}

function notesOf({ trail, seals, alarms, witnesses, reads, copy, archive, fullness }: GetSealDeps): string[] {
  const notes: string[] = [];
  if (fullness.note) notes.push(fullness.note);
  if (!trail.caughtUp) notes.push(`the trail is still being read: ${trail.size} records so far`);
  if (alarms.stopCause) notes.push("nothing is sealed until the alarm is resolved");
  const signed = seals.latest?.witnesses.length ?? WANTED_WITNESSES;
  if (signed < WANTED_WITNESSES) {
    notes.push(`${signed} of ${WANTED_WITNESSES} witnesses; ${witnesses.alive} other nodes live`);
  }
  if (!copy?.isOn) notes.push("this server does not copy records to its journal");
  else if (copy.dropped > 0) notes.push(`${copy.dropped} records are missing from this server's journal`);
  if (archive.end > 0) notes.push(`archived and verified on this server up to record ${archive.end}`);
  if (archive.fault) notes.push(`the archive on this server does not go on: ${archive.fault}`);
  if (reads.unrecorded > 0) notes.push(`${reads.unrecorded} readings of the trail could not be recorded`);
  return notes;
}
