// SPDX-License-Identifier: Apache-2.0
/**
 * Looks at a machine and at the other servers before a rescue: reads files and dials, and changes nothing. What it finds against a
 * rescue is thrown.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { Member } from "@debvisor/proto-events/membership";
import { assetNames } from "@debvisor/shared/bus/admin";
import { accountKeys } from "@debvisor/shared/bus/trust";
import { DvError } from "@debvisor/shared/errors";
import { hostPort } from "@debvisor/shared/join/addresses";
import { metaGroup } from "@debvisor/shared/nats-server/process";
import {
  type Membership,
  type NodeFile,
  nodePaths,
  readJsonFile,
  readJsonFileIfPresent,
  readMembership,
  readNode,
  ServerSecrets,
} from "@debvisor/shared/node-files";
import { z } from "zod";
import { type OtherServer, rescueFault } from "../model/rescue.ts";
import type { RescueJournal } from "./rescue-journal.ts";
import { folderUsers } from "./reset.ts";

const DIAL_MS = 1_500;

const ServersFile = z.object({ version: z.literal(1), servers: z.array(Member) });

/** The machine that is to go on alone. */
export interface Survivor {
  readonly dir: string;
  readonly node: NodeFile;
  readonly own: Member;
  readonly membership: Membership & { readonly server: NonNullable<Membership["server"]> };
  readonly secrets: ServerSecrets;
  /** The other servers that were not removed. */
  readonly others: readonly Member[];
  /** When the last message was stored in its copy of the cluster's data. */
  readonly dataFrom: Date;
}

/** Reads what a rescue rests on; of one that was begun the others as they were then. @throws RESCUE_REFUSED for a machine that cannot go on alone, DATA_FOLDER_CORRUPT */
export function readSurvivor(dir: string, journal: RescueJournal | undefined): Survivor {
  const node = readNode(dir);
  const membership = readMembership(dir);
  const secrets = readJsonFileIfPresent(nodePaths(dir).secrets, ServerSecrets);
  if (node.root !== "/")
    throw refused(`the folder ${dir} is that of a node of a local cluster; rescue is for machines`);
  if (!membership?.server || !secrets) throw refused(`this machine, ${node.name}, is no server of a cluster`);
  const known = readJsonFile(nodePaths(dir).servers, ServersFile).servers;
  const own = known.find(({ id, state }) => id === node.id && state === "active");
  if (!own)
    throw refused(`this machine, ${node.name}, has not joined the servers yet, so its copy of the data is not whole`);
  const servers = journal?.off ?? known;
  return {
    ...{ dir, node, own, secrets },
    membership: { ...membership, server: membership.server },
    others: servers.filter(({ id }) => id !== node.id).sort((a, b) => (a.name < b.name ? -1 : 1)),
    dataFrom: dataOf(dir, secrets),
  };
}

/**
 * Looks for whatever stands against a rescue. `journal`: one that was begun, whose killed processes may be left.
 * @throws RESCUE_REFUSED, CONFLICT while the node runs, NODE_NOT_FOUND, INVALID_ARGUMENT
 */
export async function examine(
  { dir, node, membership, others }: Survivor,
  off: readonly string[],
  journal: RescueJournal | undefined,
): Promise<void> {
  // Without its bus unit a nats-server is what a killed rescue left, and is ended by the next one.
  const users = folderUsers(dir).filter(({ program }) => !journal || program !== "nats-server");
  if (users.length > 0) {
    const group = await metaGroup(membership.server);
    if (group?.leader) throw refused(`the servers have a leader, ${group.leader}: a majority of them is there`);
    const list = users.slice(0, 5).map(({ pid, program }) => `${program} (${pid})`);
    throw new DvError("CONFLICT", `The node runs: ${list.join(", ")}.`, {
      details: { hint: "Stop it first: systemctl stop debvisor.target" },
    });
  }
  const { host } = membership.server;
  if (!ownAddresses().includes(host))
    throw refused(`the network of this machine is down: no interface has ${host}, so that nobody answers says nothing`);
  const looked = await Promise.all(others.map(async (member) => await look(member, ownAddresses())));
  const fault = rescueFault(node, looked, off);
  if (fault) throw new DvError(fault.code, `${capital(fault.why)}.`);
}

async function look({ id, name, endpoints }: Member, own: readonly string[]): Promise<OtherServer> {
  if (!endpoints) return { id, name, answers: null };
  const { host, client, cluster, join: joinPort, gateway } = endpoints;
  const places = [client, cluster, joinPort, gateway].map((port) => ({ host, port }));
  const answers = await Promise.all(places.map((place) => dial(place, own)));
  return { id, name, answers: answers.find((answer) => answer !== undefined) ?? null };
}

/** What answers at a place. A machine that refuses is on, and may start its server at any moment; loopback always refuses. */
function dial({ host, port }: { host: string; port: number }, own: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: DIAL_MS });
    const end = (answer: string | undefined) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(hostPort(host, port)));
    socket.once("timeout", () => end(undefined));
    socket.once("error", ({ code }: NodeJS.ErrnoException) =>
      end(code === "ECONNREFUSED" && !own.includes(host) ? `${host} is switched on` : undefined),
    );
  });
}

/** Addresses of interfaces that are up and have a carrier: others are not listed. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((entries) => (entries ?? []).map(({ address }) => address));
}

/** The server's copy of every stream. @throws RESCUE_REFUSED when one is missing */
function dataOf(dir: string, { trust }: ServerSecrets): Date {
  const streams = join(nodePaths(dir).nats, "jetstream", "jetstream", accountKeys(trust).core, "streams");
  const missing = assetNames().filter((name) => !existsSync(join(streams, name)));
  if (missing.length > 0)
    throw refused(`this machine has no copy of ${missing.join(", ")}: another server has to go on`);
  // Blocks of messages; other files are written at each stop as well.
  const blocks = readdirSync(streams, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".blk"));
  return new Date(Math.max(0, ...blocks.map((file) => statSync(join(streams, file)).mtimeMs)));
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function refused(why: string): DvError {
  return new DvError("RESCUE_REFUSED", `${capital(why)}.`);
}
