// SPDX-License-Identifier: Apache-2.0
/**
 * An elector with its memory on disk and its key: what it must not forget is on stable storage before anything of an answer leaves
 * (ADR-0019). A signature carries the voter's public key, and the node id is made of that, so that anybody can check it.
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from "node:crypto";
import { json, nodeIdOf, nodePaths, readJsonFileIfPresent, writePrivateFile } from "@debvisor/shared/node-files";
import { type ClusterSize, type Effects, Elector, type Formation, KeptPromises } from "../model/founding.ts";
import type { Machine } from "./machine.ts";

/** An elector that keeps what it promised. */
export interface Voter {
  readonly elector: Elector;
  /** Stores what the effects say has to be kept; whatever else they say only counts afterwards. */
  keep(effects: Effects): Effects;
}

/** Opens the elector of a machine. @throws DATA_FOLDER_CORRUPT when its promises cannot be read: a forgotten one could split */
export function openVoter(machine: Machine, cluster: string, size: ClusterSize): Voter {
  const file = nodePaths(machine.dir).promises;
  const key = createPrivateKey(machine.identityPem);
  const elector = new Elector({
    cluster,
    size,
    node: machine.id,
    kept: readJsonFileIfPresent(file, KeptPromises),
    newFormation: () => randomBytes(16).toString("hex"),
    sign: (text) => signVote(key, text),
    verify: isVote,
  });
  return {
    elector,
    keep: (effects) => {
      if (effects.keep) writePrivateFile(file, json(effects.keep));
      return effects;
    },
  };
}

/** The decision that this machine took part in or was told; undefined before. @throws DATA_FOLDER_CORRUPT */
export function keptFormation(dir: string): Formation | undefined {
  return readJsonFileIfPresent(nodePaths(dir).promises, KeptPromises)?.formed ?? undefined;
}

function signVote(key: KeyObject, text: string): string {
  const spki = createPublicKey(key).export({ type: "spki", format: "der" }).toString("base64");
  return `${spki}.${sign(null, Buffer.from(text), key).toString("base64")}`;
}

/** Whether a node signed the text: the key in the signature makes that node id, and signed. */
export function isVote(node: string, text: string, signature: string): boolean {
  const [spki = "", signed = ""] = signature.split(".");
  try {
    const key = createPublicKey({ key: Buffer.from(spki, "base64"), type: "spki", format: "der" });
    return nodeIdOf(key) === node && verify(null, Buffer.from(text), key, Buffer.from(signed, "base64"));
  } catch {
    return false;
  }
}
