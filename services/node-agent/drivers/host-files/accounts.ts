// SPDX-License-Identifier: Apache-2.0
/** Names of users and groups of this machine, from /etc/passwd and /etc/group. Those of a directory service go by number. */
import { readFile } from "node:fs/promises";
import { DvError } from "@debvisor/shared/errors";

const LARGEST_ID = 4_294_967_294;

/** The two tables as they were when they were read. */
export interface Accounts {
  userName(uid: number): string;
  groupName(gid: number): string;
  /** @throws INVALID_ARGUMENT when there is no such user */
  uid(nameOrNumber: string): number;
  /** @throws INVALID_ARGUMENT when there is no such group */
  gid(nameOrNumber: string): number;
}

/** Reads the tables. A missing one reads as empty. */
export async function readAccounts(folder = "/etc"): Promise<Accounts> {
  const [users, groups] = await Promise.all([readTable(`${folder}/passwd`), readTable(`${folder}/group`)]);
  return {
    userName: (uid) => nameOf(users, uid),
    groupName: (gid) => nameOf(groups, gid),
    uid: (name) => idOf(users, name, "user"),
    gid: (name) => idOf(groups, name, "group"),
  };
}

async function readTable(file: string): Promise<ReadonlyMap<string, number>> {
  const text = await readFile(file, "utf8").catch(() => "");
  const entries = text.split("\n").flatMap((line) => {
    const [name, , id] = line.split(":");
    return name && id && /^\d+$/.test(id) ? [[name, Number(id)] as const] : [];
  });
  // Of two entries with one name the first counts, as for the system.
  return new Map(entries.reverse());
}

function nameOf(table: ReadonlyMap<string, number>, id: number): string {
  let found = String(id);
  // The table is in reverse order, so the last match is the first entry.
  for (const [name, number] of table) if (number === id) found = name;
  return found;
}

function idOf(table: ReadonlyMap<string, number>, name: string, what: string): number {
  const id = table.get(name) ?? (/^\d+$/.test(name) ? Number(name) : undefined);
  if (id === undefined || id > LARGEST_ID)
    throw new DvError("INVALID_ARGUMENT", `This host has no ${what} ${name}.`, { details: { [what]: name } });
  return id;
}
