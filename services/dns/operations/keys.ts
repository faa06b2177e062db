// SPDX-License-Identifier: Apache-2.0
/** TSIG keys that the cluster keeps sealed: list, store, forget. A secret comes in and never goes out. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { TsigKey } from "@debvisor/proto-events/dns-data";
import type { Input } from "@debvisor/proto-events/kit";
import type { Bus, RequestContext } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import type { DnsStore } from "../reconcilers/dns-store.ts";

type C = typeof dnsContract;

const LIST = { fields: fieldsOf(TsigKey), aliases: {}, id: ({ name }: TsigKey) => name, sort: "name" };

export function listKeysHandler({ store }: { readonly store: DnsStore }) {
  return async (input: Input<C, "listKeys">) => paginate([...(await store.view()).keys], input, LIST);
}

export interface SetKeyDeps {
  readonly store: DnsStore;
  readonly bus: Pick<Bus, "publishEvent">;
  readonly clock: Clock;
}

export function setKeyHandler({ store, bus, clock }: SetKeyDeps) {
  return async (
    { key: name, algorithm, secret }: Input<C, "setKey">,
    { actor, requestId }: RequestContext,
  ): Promise<TsigKey> => {
    const { key, changed } = await store.setKey({ name, algorithm, secret }, { actor, at: timestamp(clock) });
    const fact = { key: name, algorithm, fingerprint: key.fingerprint };
    if (changed) await bus.publishEvent(dnsContract, "key.created", fact, { subject: name, actor, requestId });
    return key;
  };
}

export function deleteKeyHandler({ store }: { readonly store: DnsStore }) {
  return ({ key }: Input<C, "deleteKey">): Promise<TsigKey> => store.deleteKey(key);
}
