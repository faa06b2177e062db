// SPDX-License-Identifier: Apache-2.0
/** TSIG keys that the cluster keeps sealed: list, store, forget. A secret comes in and never goes out. */
import type { dnsContract } from "@debvisor/proto-events/dns";
import { TsigKey } from "@debvisor/proto-events/dns-data";
import type { Input } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import type { DnsStore } from "../reconcilers/dns-store.ts";

type C = typeof dnsContract;

const LIST = { fields: fieldsOf(TsigKey), aliases: {}, id: ({ name }: TsigKey) => name, sort: "name" };

export function listKeysHandler({ store }: { readonly store: DnsStore }) {
  return async (input: Input<C, "listKeys">) => paginate([...(await store.view()).keys], input, LIST);
}

export function setKeyHandler({ store, clock }: { readonly store: DnsStore; readonly clock: Clock }) {
  return ({ key: name, algorithm, secret }: Input<C, "setKey">, { actor }: RequestContext): Promise<TsigKey> =>
    store.setKey({ name, algorithm, secret }, { actor, at: new Date(clock.now()).toISOString() });
}

export function deleteKeyHandler({ store }: { readonly store: DnsStore }) {
  return ({ key }: Input<C, "deleteKey">): Promise<TsigKey> => store.deleteKey(key);
}
