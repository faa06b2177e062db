// SPDX-License-Identifier: Apache-2.0
/** `dvctl cluster rescue`: makes the server it is typed on go on alone when the others are gone for ever. */
import { hostname } from "node:os";
import { Reason } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import type { Survivor } from "../../../../services/discovery/joining/rescue-plan.ts";
import { actingUser } from "../acting-user.ts";
import { usage } from "../argv.ts";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { consent } from "../confirm.ts";
import { asOwner, folderOf, giveToOwner, MACHINE_PRIVILEGE, nodeDirFlag } from "../machine-flags.ts";

const Input = z.strictObject({
  off: z
    .array(z.string().min(1))
    .default([])
    .describe(
      "Id or name of a server that is off for ever. Every other server has to be named, each with its own --off.",
    ),
  reason: Reason.optional().describe("Why; kept in the audit trail."),
  nodeDir: nodeDirFlag,
});

const CHANGES =
  "Keeps a copy of this server's data, takes the others out of the group of servers, lowers every stream to one replica, enters into the membership that the others are removed and that one server is declared, and gives this machine new credentials and another password between servers. Writes that the others acknowledged and this server never heard of are lost.";
const UNDO = "Cannot be undone. The copy of the data as it was is kept for whoever has to look something up in it.";

export const clusterRescue: CommandSpec = {
  noun: "cluster",
  verb: "rescue",
  summary: "Go on with this server alone when the others are gone for ever and no majority can come back.",
  input: Input,
  args: [],
  effect: "destroy",
  privilege: MACHINE_PRIVILEGE,
  errors: [
    "RESCUE_REFUSED",
    "NODE_NOT_FOUND",
    "CONFLICT",
    "NATS_SERVER_FAILED",
    "NATS_SERVER_MISSING",
    "BUS_UNAVAILABLE",
    "AUDIT_UNAVAILABLE",
    "DATA_FOLDER_CORRUPT",
    "PERMISSION_DENIED",
  ],
  help: {
    examples: [
      {
        command: 'dvctl cluster rescue --off node-2 --off node-3 --reason "fire in room 2"',
        does: "Show what would be done, and whether anything stands against it. Changes nothing.",
      },
      {
        command: 'dvctl cluster rescue --off node-2 --off node-3 --reason "fire in room 2" --confirm',
        does: "Do it.",
      },
      { command: "dvctl cluster rescue --confirm", does: "Go on with a rescue that was interrupted." },
    ],
    scenarios: [
      {
        command: "dvctl cluster status",
        does: "Afterwards, once systemctl start debvisor.target has started bus and services: one server is declared.",
      },
      { command: "dvctl cluster grow 3", does: "Then let new machines join as servers again." },
    ],
    preconditions:
      "Every other server is powered off for ever: none answers from here, which is tried. This machine has a copy of every stream, and its services are stopped (systemctl stop debvisor.target).",
    changes: CHANGES,
    undo: UNDO,
    recovery:
      "After a power cut or a kill run it again with --confirm; it goes on where it was. Until then the bus does not start.",
  },
  run: (call) => asOwner(() => run(call)),
};

async function run(call: Call): Promise<number> {
  const { off, reason, ...input } = Input.parse(call.input);
  const dir = folderOf(input.nodeDir, call);
  const [{ examine, readSurvivor }, { lockRescue, readJournal }] = await Promise.all([
    import("../../../../services/discovery/joining/rescue-plan.ts"),
    import("../../../../services/discovery/joining/rescue-journal.ts"),
  ]);
  const journal = readJournal(dir);
  const survivor = readSurvivor(dir, journal);
  if (!journal && off.length === 0) throw usage("--off: name every other server, each with its own --off");
  if (!journal && reason === undefined) throw usage("--reason: say why the others are given up");
  const isOther = ({ id, name }: { id: string; name: string }) => !off.includes(id) && !off.includes(name);
  if (journal && off.length > 0 && (journal.off.some(isOther) || off.length !== journal.off.length))
    throw new DvError(
      "CONFLICT",
      `A rescue was begun that gives up ${journal.off.map(({ name }) => name).join(", ")}; go on with it without --off.`,
    );
  const named = journal ? journal.off.map(({ id }) => id) : off;
  await examine(survivor, named, journal);
  const plan = {
    survivor: survivor.node.name,
    off: survivor.others.map(({ name }) => name),
    reason: journal?.reason ?? reason ?? "",
    dataFrom: survivor.dataFrom.toISOString(),
    done: journal?.done ?? [],
  };
  const stop = await consent(
    { title: "dvctl cluster rescue", effect: "change", many: true, ...shown(plan, call) },
    call,
  );
  return stop ?? (await carryOut(call, survivor, plan.reason, lockRescue));
}

function shown(plan: Readonly<Record<string, unknown>>, call: Call) {
  const record = () => renderRecord(plan, { color: false, nowMs: Date.now() });
  return {
    lines: ["Plan: dvctl cluster rescue", ...record().split("\n"), `changes: ${CHANGES}`, `undo: ${UNDO}`],
    print: () => call.output.result(plan, record),
  };
}

async function carryOut(
  call: Call,
  survivor: Survivor,
  reason: string,
  lock: (dir: string) => () => void,
): Promise<number> {
  const { dir } = survivor;
  const { rescue } = await import("../../../../services/discovery/joining/rescue.ts");
  const { path: binary } = await locateNatsServer({
    cacheDir: `${dir}/cache`,
    fetch: false,
    log: (line) => call.output.info(line),
  });
  const release = lock(dir);
  try {
    const actor = `${actingUser(call.env)} at ${hostname()}`;
    const done = await rescue({
      ...{ survivor, actor, reason, binary },
      onStep: (step) => call.output.info(`step: ${step}`),
    });
    call.output.result(done, () =>
      renderRecord(
        { ...done, off: done.off.map(({ name }) => name) },
        {
          color: call.output.color,
          nowMs: Date.now(),
        },
      ),
    );
  } finally {
    release();
    // What root wrote: the services do not run as root.
    giveToOwner(dir);
  }
  call.output.info("next: systemctl start debvisor.target, then dvctl status");
  call.output.info("the others may never come back as they are: dvctl nodes reset on each before it joins again");
  return EXIT.ok;
}
