// SPDX-License-Identifier: Apache-2.0
/** Answers about what members believe: of the cluster as a whole from the membership, of this node from its files. */
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { trustContract } from "@debvisor/proto-events/trust";
import { DvError } from "@debvisor/shared/errors";
import type { MembershipStore } from "../reconcilers/membership-store.ts";
import type { RegistryStore } from "../reconcilers/registry-store.ts";

type Contract = typeof trustContract;

export interface TrustViewDeps {
  readonly members: MembershipStore;
  readonly registry: RegistryStore;
}

export function getTrustHandler({ members, registry }: TrustViewDeps) {
  return (): Output<Contract, "getTrust"> => {
    members.requireReady();
    const entry = members.trust();
    if (!entry) throw new DvError("UNAVAILABLE", "No server has entered the cluster's authority yet.");
    const { generation, authorities, issuer, rotatedAt } = entry;
    const present = [...members.members().values()].filter(({ state }) => state !== "removed");
    const view = authorities.map(({ fingerprint, notAfter }) => ({
      fingerprint,
      notAfter,
      issues: fingerprint === issuer,
    }));
    return {
      generation,
      authorities: view,
      rotatedAt,
      members: present
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(({ id, name, role, trust }) => ({
          ...{ node: id, name, role, alive: registry.record(id)?.state ?? null },
          generation: trust?.generation ?? null,
          current: trust?.generation === generation,
          confirmedAt: trust?.at ?? null,
        })),
    };
  };
}

/** What a node does when it is asked what it holds. */
export interface Holder {
  /** @throws UNAVAILABLE while the part that takes up what is wanted is not up */
  holding(wanted: Input<Contract, "getHolding">): Promise<Output<Contract, "getHolding">>;
}

export function getHoldingHandler(holder: () => Holder | undefined) {
  return async (wanted: Input<Contract, "getHolding">): Promise<Output<Contract, "getHolding">> => {
    const held = holder();
    if (!held) throw new DvError("UNAVAILABLE", "What this node believes cannot be said yet.");
    return await held.holding(wanted);
  };
}
