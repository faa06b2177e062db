// SPDX-License-Identifier: Apache-2.0
/**
 * Keys that the cluster makes itself, one for each purpose, and how far their replacement is (ADR-0026). A rotation goes through its phases
 * in order, and back to nothing until it removes; which key signs, and what a server is to have, follows from the phase.
 */
import { type DnsServer, KeyPurpose, TsigKeyName } from "@debvisor/proto-events/dns-data";
import type { KeysFile, ServerList } from "@debvisor/proto-events/nameserver";
import { OperationId, Timestamp } from "@debvisor/proto-events/primitives";
import { z } from "zod";

/** `made`: new keys are stored; `deployed`: servers take both; `switched`: the new ones sign; `waited`: the overlap is over. */
export const RotationPhase = z.enum(["made", "deployed", "switched", "waited", "removing"]);
export type RotationPhase = z.output<typeof RotationPhase>;

const Names = z.partialRecord(KeyPurpose, TsigKeyName);

/** The names of the keys that are in force, and of those that replace them. */
export const KeyRing = z.object({
  keys: Names,
  rotation: z
    .object({ operation: OperationId, phase: RotationPhase, next: Names, switchedAt: Timestamp.nullable() })
    .nullable(),
  undone: OperationId.nullable().describe(
    "The last rotation that was taken back: an order of it that comes late is over.",
  ),
});
export type KeyRing = z.output<typeof KeyRing>;

/** Without any key. */
export const NO_KEYS: KeyRing = { keys: {}, rotation: null, undone: null };

/** Which keys servers are to have: those in force, those that replace them, or both. */
export type Holding = "old" | "both" | "new";

/** What a change of the ring is: the ring to write, nothing to do, or why it cannot be. */
export type RingDecision =
  | { readonly kind: "write"; readonly ring: KeyRing }
  | { readonly kind: "done" }
  | { readonly kind: "refused"; readonly why: string };

const SIGNING: ReadonlySet<RotationPhase> = new Set(["switched", "waited", "removing"]);

/** Name of the key that an operation makes. The same for every attempt. */
export function keyNameOf(purpose: KeyPurpose, operation: string): string {
  return `dv-${purpose}-${operation.replace(/^op-/, "")}`;
}

/** The key that signs for a purpose; null while there is none. */
export function signingKey({ keys, rotation }: KeyRing, purpose: KeyPurpose): string | null {
  const next = rotation && SIGNING.has(rotation.phase) ? rotation.next[purpose] : undefined;
  return next ?? keys[purpose] ?? null;
}

/** Every key of the ring with its purpose. */
export function ringKeys({
  keys,
  rotation,
}: KeyRing): readonly { readonly purpose: KeyPurpose; readonly name: string }[] {
  return KeyPurpose.options.flatMap((purpose) =>
    [keys[purpose], rotation?.next[purpose]].flatMap((name) => (name === undefined ? [] : [{ purpose, name }])),
  );
}

/** Purposes whose keys a server gets: a secondary copies zones, and changes none. */
export function purposesOf({ role }: Pick<DnsServer, "role">): readonly KeyPurpose[] {
  return role === "primary" ? KeyPurpose.options : ["transfer"];
}

/** Names of the keys that a server is to have for a purpose. */
export function heldKeys({ keys, rotation }: KeyRing, purpose: KeyPurpose, holding: Holding): string[] {
  const [old, next] = [keys[purpose], rotation?.next[purpose]];
  const wanted = holding === "old" ? [old] : holding === "both" ? [old, next] : [next ?? old];
  return wanted.filter((name) => name !== undefined);
}

/**
 * Begins a rotation. Whoever asks holds the lock on keys, so one that is there was given up: it is taken over, and its keys are forgotten,
 * unless it was removing already.
 */
export function decideMake(ring: KeyRing, operation: OperationId, purposes: readonly KeyPurpose[]): RingDecision {
  if (ring.rotation?.operation === operation) return { kind: "done" };
  if (ring.rotation?.phase === "removing")
    return { kind: "refused", why: `${ring.rotation.operation} was removing old keys; rotate again to finish that` };
  if (ring.undone === operation) return { kind: "refused", why: `${operation} was undone` };
  // Its end is recorded by the names of its keys.
  if (purposes.some((purpose) => ring.keys[purpose] === keyNameOf(purpose, operation))) return { kind: "done" };
  const next = Object.fromEntries(purposes.map((purpose) => [purpose, keyNameOf(purpose, operation)]));
  return { kind: "write", ring: { ...ring, rotation: { operation, phase: "made", next, switchedAt: null } } };
}

/** Forgets a rotation that got nowhere, or has not begun: nor will it then. */
export function decideForget(ring: KeyRing, operation: OperationId): RingDecision {
  const { rotation, undone } = ring;
  const isOwn = rotation?.operation === operation;
  if (isOwn && rotation.phase !== "made") return { kind: "refused", why: `its keys are ${rotation.phase}` };
  if (!isOwn && undone === operation) return { kind: "done" };
  return { kind: "write", ring: { ...ring, rotation: isOwn ? null : rotation, undone: operation } };
}

/** Goes from one phase to the next, or back. */
export function decidePhase(
  ring: KeyRing,
  operation: string,
  { from, to, at }: { readonly from: RotationPhase; readonly to: RotationPhase; readonly at: string },
): RingDecision {
  const { rotation } = ring;
  if (rotation?.operation !== operation) return { kind: "refused", why: `${operation} replaces no keys any more` };
  if (rotation.phase === to) return { kind: "done" };
  if (rotation.phase !== from) return { kind: "refused", why: `its keys are ${rotation.phase}, not ${from}` };
  const switchedAt = to === "switched" && from === "deployed" ? at : to === "deployed" ? null : rotation.switchedAt;
  return { kind: "write", ring: { ...ring, rotation: { ...rotation, phase: to, switchedAt } } };
}

/** Goes nowhere: whether a rotation is in one of these phases. */
export function decideAt(ring: KeyRing, operation: string, phases: readonly RotationPhase[]): RingDecision {
  const { rotation } = ring;
  if (rotation?.operation === operation && phases.includes(rotation.phase)) return { kind: "done" };
  return { kind: "refused", why: `${operation} is not ${phases.join(" or ")}` };
}

/** Ends a rotation: the new keys are those in force. */
export function decideEnd(ring: KeyRing, operation: string): RingDecision {
  const { rotation, keys } = ring;
  if (rotation?.operation !== operation) return { kind: "done" };
  if (rotation.phase !== "removing") return { kind: "refused", why: `its keys are ${rotation.phase}` };
  return { kind: "write", ring: { ...ring, keys: { ...keys, ...rotation.next }, rotation: null } };
}

const LISTS: Readonly<Record<DnsServer["role"], ServerList>> = {
  primary: "debvisor-primaries",
  secondary: "debvisor-secondaries",
};

/** What the file of keys of a server is to hold. `secretOf` gives the keys with their secrets. */
export function keysFileOf(
  server: DnsServer,
  servers: readonly DnsServer[],
  ring: KeyRing,
  holding: Holding,
  secretOf: (name: string) => KeysFile["keys"][number],
): KeysFile {
  const own = purposesOf(server);
  const names = (purpose: KeyPurpose) => (own.includes(purpose) ? heldKeys(ring, purpose, holding) : []);
  const signing = signingKey(ring, "transfer");
  // While the first key is being deployed, nothing signs yet.
  const transfer = signing !== null && names("transfer").includes(signing) ? signing : (names("transfer")[0] ?? null);
  const others = servers.filter(
    ({ name, zones }) => name !== server.name && zones.some((zone) => server.zones.includes(zone)),
  );
  return {
    keys: own.flatMap((purpose) => names(purpose).map(secretOf)),
    acls: KeyPurpose.options.map((purpose) => ({ name: `debvisor-${purpose}` as const, keys: names(purpose) })),
    lists: (["primary", "secondary"] as const).map((role) => ({
      name: LISTS[role],
      servers: others
        .filter((other) => other.role === role && other.role !== server.role)
        .map(({ address, port, node }) => ({ address, port, key: node === null ? null : transfer })),
    })),
  };
}
