// SPDX-License-Identifier: Apache-2.0
/** Lists hosts: those that are registered, and the nodes that are not as they should be. */
import type { dnsContract } from "@debvisor/proto-events/dns";
import { DnsHost } from "@debvisor/proto-events/dns-hosts";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import { type NodeWish, waitsFor } from "../model/node-hosts.ts";
import type { DnsStore } from "../reconcilers/dns-store.ts";
import type { HostEntry, HostStore, TroubleEntry } from "../reconcilers/host-store.ts";
import { zonesOf } from "./ask-servers.ts";

type C = typeof dnsContract;

export interface HostListDeps {
  readonly store: DnsStore;
  readonly hosts: HostStore;
  /** What nodes should be registered as; none where nodes are not registered. */
  readonly wishes: (zones: readonly string[]) => readonly NodeWish[];
}

const LIST = {
  fields: fieldsOf(DnsHost),
  aliases: { address: "addresses" },
  id: ({ host }: DnsHost) => host.slice(0, 64),
  sort: "host",
};

export function listHostsHandler({ store, hosts, wishes }: HostListDeps) {
  return async (input: Input<C, "listHosts">): Promise<Output<C, "listHosts">> => {
    const [view, known] = await Promise.all([store.view(), hosts.all()]);
    const zones = zonesOf(view);
    const registered = known.hosts.map((entry) => hostOf(entry, known.troubles));
    const missing = wishes(zones)
      .filter(({ node, host }) => !known.hosts.some((one) => one.host === host && one.id === node))
      .map((wish) => missingNode(wish, zones, known.troubles));
    return paginate([...registered, ...missing], input, LIST);
  };
}

function hostOf({ host, kind, id, addresses, records, ...by }: HostEntry, troubles: readonly TroubleEntry[]): DnsHost {
  const trouble = kind === "node" ? troubles.find((one) => one.node === id && one.host === host) : undefined;
  return {
    ...{ host, kind, id, addresses, records, operation: by.operation, registeredAt: by.at, registeredBy: by.by },
    ...{ state: trouble ? "failed" : "registered", code: trouble?.code ?? null, detail: trouble?.message ?? "" },
  };
}

function missingNode(wish: NodeWish, zones: readonly string[], troubles: readonly TroubleEntry[]): DnsHost {
  const { node, host, addresses } = wish;
  const trouble = troubles.find((one) => one.node === node && one.host === host);
  const why = trouble ? { code: trouble.code, detail: trouble.message } : waitsFor(wish, zones);
  return {
    ...{ host, kind: "node", id: node, addresses: [...addresses], state: trouble ? "failed" : "waiting", ...why },
    ...{ records: [], operation: null, registeredAt: null, registeredBy: null },
  };
}
