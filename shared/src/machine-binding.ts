// SPDX-License-Identifier: Apache-2.0
/**
 * Binds a node's key to the machine that it was made on (RULES.md part 5, cloned disk images): beside the key lie hashes of what tells
 * this machine from others, and on a machine where they differ the key is not used. A cluster cannot tell a copy from the original.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Timestamp } from "@debvisor/proto-events/primitives";
import { z } from "zod";
import { DvError } from "./errors.ts";
import {
  json,
  type NodeFile,
  nodePaths,
  readJsonFile,
  readJsonFileIfPresent,
  readNode,
  writePrivateFile,
} from "./node-files.ts";

const Hash = z.string().regex(/^[0-9a-f]{64}$/);
/** File `binding.json`. What could not be read when it was written is absent, and is not compared. */
const Binding = z.strictObject({
  version: z.literal(1),
  machineId: Hash.optional(),
  hardware: Hash.optional(),
  /** When somebody bound it anew by hand; gone once the cluster has been told. */
  reboundAt: Timestamp.optional(),
});
type Mark = "machineId" | "hardware";

/** By what a machine is recognised. The hardware's UUID is readable by root, and by services where tmpfiles.d lets them. */
const MARKS: Readonly<Record<Mark, { readonly file: string; readonly form: RegExp; readonly name: string }>> = {
  machineId: { file: "etc/machine-id", form: /^[0-9a-f]{32}$/, name: "/etc/machine-id" },
  hardware: {
    file: "sys/class/dmi/id/product_uuid",
    form: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    name: "the hardware's UUID (DMI)",
  },
};
const ALL_MARKS = Object.keys(MARKS) as Mark[];

type Bound = Pick<NodeFile, "id" | "name" | "root">;

/**
 * Reads who the node is, for whoever is about to act as it. A folder without a binding, as older versions left it, is bound now.
 * @throws KEY_BOUND_ELSEWHERE on another machine, DATA_FOLDER_CORRUPT
 */
export function openNode(dir: string): NodeFile {
  const node = readNode(dir);
  requireBound(dir, node);
  return node;
}

/** Compares the binding with this machine, or makes it where there is none. @throws KEY_BOUND_ELSEWHERE, DATA_FOLDER_CORRUPT */
export function requireBound(dir: string, node: Bound): void {
  const bound = readJsonFileIfPresent(nodePaths(dir).binding, Binding);
  if (!bound) {
    bindHere(dir, node, {});
    return;
  }
  const here = marksHere(node);
  const others = ALL_MARKS.filter((mark) => bound[mark] && here[mark] && bound[mark] !== here[mark]);
  if (others.length === 0) return;
  throw new DvError(
    "KEY_BOUND_ELSEWHERE",
    `The key of node ${node.id} (${node.name}) belongs to another machine: ${namesOf(others).join(" and ")} ${others.length > 1 ? "differ" : "differs"} here. ` +
      `If this machine is a copy, run \`dvctl nodes reset ${node.id} --confirm\` on it. ` +
      `If its hardware or system was replaced on purpose, run \`dvctl nodes rebind ${node.id} --confirm\` on it.`,
  );
}

/**
 * Binds the key to this machine, whatever it was bound to; the cluster is told at the next start. Names what the machine is recognised by
 * from now on; without any of that, nothing is written.
 */
export function rebind(dir: string, node: Bound, at: Timestamp): string[] {
  return bindHere(dir, node, { reboundAt: at });
}

/** When the key was bound anew, as long as the cluster has not been told. @throws DATA_FOLDER_CORRUPT */
export function untoldRebind(dir: string): Timestamp | undefined {
  return readJsonFileIfPresent(nodePaths(dir).binding, Binding)?.reboundAt;
}

/** The cluster has been told of it. @throws DATA_FOLDER_CORRUPT */
export function rebindTold(dir: string, at: Timestamp): void {
  const { reboundAt, ...bound } = readJsonFile(nodePaths(dir).binding, Binding);
  if (reboundAt === at) writePrivateFile(nodePaths(dir).binding, json(bound));
}

function bindHere(dir: string, node: Bound, more: { readonly reboundAt?: Timestamp }): string[] {
  const here = marksHere(node);
  const known = ALL_MARKS.filter((mark) => here[mark] !== undefined);
  // First boot may not have come to the machine's id yet: the next start binds then.
  if (known.length > 0) writePrivateFile(nodePaths(dir).binding, json({ version: 1, ...here, ...more }));
  return namesOf(known);
}

/* The id of a machine is not to be shown around (machine-id(5)), and a hash that depends on the node shows nobody that two are one. */
function marksHere({ id, root }: Bound): Partial<Record<Mark, string>> {
  const marks = ALL_MARKS.flatMap((mark) => {
    const { file, form } = MARKS[mark];
    const value = textOf(join(root, file))?.trim().toLowerCase() ?? "";
    if (!form.test(value)) return [];
    return [[mark, createHash("sha256").update(`debvisor binding\0${id}\0${mark}\0${value}`).digest("hex")] as const];
  });
  return Object.fromEntries(marks);
}

/* Containers may have neither file, and not everybody may read the second one. */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function namesOf(marks: readonly Mark[]): string[] {
  return marks.map((mark) => MARKS[mark].name);
}
