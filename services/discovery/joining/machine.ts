// SPDX-License-Identifier: Apache-2.0
/** This machine before it belongs to a cluster: its identity, its name, where its parts will listen. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { DvError } from "@debvisor/shared/errors";
import { reachableAddresses } from "@debvisor/shared/join/addresses";
import type { Endpoints } from "@debvisor/shared/join/messages";
import { machineName, type Preseed } from "@debvisor/shared/join/preseed";
import { requireBound } from "@debvisor/shared/machine-binding";
import {
  createIdentity,
  json,
  type NodeFile,
  nodeIdOf,
  nodePaths,
  readJsonFileIfPresent,
  NodeFile as Schema,
  writePrivateFile,
} from "@debvisor/shared/node-files";

/** What a machine is and says of itself. */
export interface Machine {
  readonly dir: string;
  readonly id: string;
  readonly name: string;
  readonly role: "server" | "worker";
  readonly identityPem: string;
  readonly endpoints: Endpoints;
  readonly addresses: readonly string[];
}

type Wanted = Pick<Preseed, "name" | "role" | "listen" | "ports">;

/**
 * The machine in a folder; makes its key and its node file when they are missing. The key is made once, on the machine itself, and
 * never copied (RULES.md 7). @throws KEY_BOUND_ELSEWHERE, DATA_FOLDER_CORRUPT, PRESEED_INVALID, UNAVAILABLE while it has no address
 */
export function openMachine(dir: string, wanted: Wanted, root = "/"): Machine {
  const paths = nodePaths(dir);
  if (!existsSync(paths.identity)) {
    rmSync(paths.binding, { force: true });
    writePrivateFile(paths.identity, createIdentity().pem);
  }
  const identityPem = readFileSync(paths.identity, "utf8");
  const id = identityOf(identityPem, paths.identity);
  const kept = readJsonFileIfPresent(paths.node, Schema);
  const name = machineName(wanted.name ?? kept?.name);
  const node: NodeFile = {
    version: 1,
    id,
    name,
    roles: [wanted.role],
    incarnation: kept?.incarnation ?? 1,
    root: kept?.root ?? root,
  };
  requireBound(dir, node);
  writePrivateFile(paths.node, json(node));
  const addresses = wanted.listen ? [wanted.listen] : reachableAddresses();
  const [host] = addresses;
  if (host === undefined) throw new DvError("UNAVAILABLE", "This machine has no address that others could reach.");
  const { bus, cluster, monitor, helper, join, gateway } = wanted.ports;
  const endpoints = { host, client: bus, cluster, monitor, helper, join, gateway };
  return { dir, id, name, role: wanted.role, identityPem, endpoints, addresses };
}

function identityOf(pem: string, file: string): string {
  try {
    return nodeIdOf(createPublicKey(createPrivateKey(pem)));
  } catch (error) {
    throw new DvError("DATA_FOLDER_CORRUPT", `${file} holds no private key.`, { cause: error });
  }
}
