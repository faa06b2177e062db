// SPDX-License-Identifier: Apache-2.0
/**
 * Checkpoints of the audit trail: signed by a sealer, the core part `audit-<node>`, and cosigned by other nodes with their
 * own credentials. Every signature is Ed25519 over canonical JSON, base64url.
 */
import type { Checkpoint, Cosignature, SealedCheckpoint } from "@debvisor/proto-events/audit";
import type { Signer } from "../bus/bus.ts";
import { isSigned } from "../bus/keys.ts";
import { canonicalJson } from "./canonical.ts";
import type { Identity, TrustChain } from "./trust.ts";

/** What a sealer says about the trail. */
export type TreeHead = Pick<Checkpoint, "cluster" | "generation" | "size" | "root" | "time">;

/** Service whose core part seals. */
const SEALER = /^audit-([a-z2-7]{16})$/;

/** Signs the head of the tree. */
export function signCheckpoint(head: TreeHead, signer: Signer): Checkpoint {
  const { cluster, generation, size, root, time } = head;
  const checkpoint = { v: 1, cluster, generation, size, root, time, sealer: signer.user, cred: signer.jwt } as const;
  return { ...checkpoint, sig: signatureOf(checkpoint, signer) };
}

/** Why the checkpoint's signature does not count, in one clause; undefined when it does. */
export function faultOfCheckpoint(checkpoint: Checkpoint, trust: TrustChain): string | undefined {
  const { sig, ...rest } = checkpoint;
  const sealer = identityOf(checkpoint.cred, trust);
  if (typeof sealer === "string") return sealer;
  if (sealer.user !== checkpoint.sealer) return `the credential is that of ${sealer.user}, not of ${checkpoint.sealer}`;
  if (sealer.account !== "CORE" || !SEALER.test(sealer.user)) return `${sealer.user} is no sealer`;
  return hasSigned(sealer, rest, sig) ? undefined : "the signature is wrong";
}

/** Cosigns as a node. Who calls it has checked that the checkpoint continues the last one it cosigned. */
export function cosignCheckpoint(checkpoint: Checkpoint, signer: Signer, time: string): Cosignature {
  const said = { witness: signer.user, cred: signer.jwt, time };
  return { ...said, sig: signatureOf({ checkpoint, ...said }, signer) };
}

/** Why a cosignature is not what it says it is, in one clause; undefined when it is. */
export function faultOfCosignature(
  checkpoint: Checkpoint,
  cosignature: Cosignature,
  trust: TrustChain,
): string | undefined {
  const { sig, ...said } = cosignature;
  const witness = identityOf(cosignature.cred, trust);
  if (typeof witness === "string") return witness;
  if (witness.user !== cosignature.witness) {
    return `the credential is that of ${witness.user}, not of ${cosignature.witness}`;
  }
  if (witness.account !== "NODES") return `${witness.user} is no node`;
  return hasSigned(witness, { checkpoint, ...said }, sig) ? undefined : "the signature is wrong";
}

/** Nodes whose cosignatures count, each once. The sealer's own node is no witness of it. */
export function witnessesOf({ checkpoint, witnesses }: SealedCheckpoint, trust: TrustChain): string[] {
  const own = SEALER.exec(checkpoint.sealer)?.[1];
  const good = witnesses.filter(
    (cosignature) => cosignature.witness !== own && faultOfCosignature(checkpoint, cosignature, trust) === undefined,
  );
  return [...new Set(good.map(({ witness }) => witness))];
}

function identityOf(cred: string, trust: TrustChain): Identity | string {
  try {
    return trust.identify(cred);
  } catch (error) {
    if (error instanceof TypeError) return error.message;
    throw error;
  }
}

function signatureOf(value: unknown, signer: Signer): string {
  return Buffer.from(signer.sign(Buffer.from(canonicalJson(value)))).toString("base64url");
}

function hasSigned({ key }: Identity, value: unknown, sig: string): boolean {
  return isSigned(key, Buffer.from(canonicalJson(value)), Buffer.from(sig, "base64url"));
}
