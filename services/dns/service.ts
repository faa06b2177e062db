// SPDX-License-Identifier: Apache-2.0
/** dns: records on DNS servers as transactions (core part, on server nodes). */
import { join } from "node:path";
import { dnsContract } from "@debvisor/proto-events/dns";
import { dnsEngineContract } from "@debvisor/proto-events/engine";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { readGiven } from "@debvisor/shared/given-file";
import { nodePaths } from "@debvisor/shared/node-files";
import { type OperationHost, startOperationHost } from "@debvisor/shared/operation/operation-host";
import { defineService, type ServiceContext } from "@debvisor/shared/service";
import { type DnsConfig, dnsConfig } from "./config.ts";
import { dnsDefinitions } from "./definitions.ts";
import { type Bind, createBind } from "./drivers/bind.ts";
import { zonesOf } from "./operations/ask-servers.ts";
import { carryOut } from "./operations/carry-out.ts";
import { checkChangeHandler, listChangesHandler } from "./operations/changes.ts";
import { checkKeyHandler } from "./operations/check-key.ts";
import { checkDnssecHandler } from "./operations/dnssec.ts";
import { listHostsHandler } from "./operations/hosts.ts";
import { deleteKeyHandler, listKeysHandler, setKeyHandler } from "./operations/keys.ts";
import { checkPropagationHandler, listRecordsHandler } from "./operations/records.ts";
import { checkServerHandler, deleteServerHandler, listServersHandler, setServerHandler } from "./operations/servers.ts";
import { DnsStore } from "./reconcilers/dns-store.ts";
import { withFreshKeys } from "./reconcilers/fresh-keys.ts";
import { HostStore } from "./reconcilers/host-store.ts";
import { NodeHosts } from "./reconcilers/node-hosts.ts";

type Context = ServiceContext<DnsConfig>;

export const dnsService = defineService({
  name: "dns",
  config: dnsConfig,
  serversOnly: true,
  async start(context) {
    const { coreBus: bus, config, node } = context;
    if (!bus) return { ready: () => undefined, stop: () => Promise.resolve() };
    const store = new DnsStore(bus, sealKey(node.dir));
    const programs = createBind({ folder: join(node.stateDir, "keys"), answerMs: config.answerMs });
    const bind = withFreshKeys(programs, () => context.clock.monotonic());
    const definitions = dnsDefinitions({ store, bind, bus, zone: config.zone });
    const host = startOperationHost(context, bus, { service: "dns", contract: dnsEngineContract, definitions });
    const hosts = new HostStore(bus);
    const nodes = config.registerNodes ? startNodeHosts(context, bus, { store, hosts, host }) : undefined;
    const served = await serve(context, bus, { store, bind, host, hosts, nodes });
    return {
      ready: () => host.waitsFor,
      stop: async () => {
        await served.stop();
        await nodes?.stop();
        await host.stop();
      },
    };
  },
});

/** @throws DATA_FOLDER_CORRUPT */
function sealKey(dir: string): string {
  const file = nodePaths(dir).seal("dns");
  const key = readGiven("dns.seal", file)?.trim();
  if (key === undefined || Buffer.from(key, "base64").length !== 32)
    throw new DvError("DATA_FOLDER_CORRUPT", `${file} holds no key for sealing.`);
  return key;
}

interface Parts {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly host: OperationHost;
  readonly hosts: HostStore;
  /** Undefined where nodes are not registered. */
  readonly nodes: NodeHosts | undefined;
}

/** Keeps the nodes registered. */
function startNodeHosts(
  { clock, config, log, node }: Context,
  bus: Bus,
  { store, hosts, host }: Pick<Parts, "store" | "hosts" | "host">,
): NodeHosts {
  const nodes = new NodeHosts({
    ...{ bus, hosts, zone: config.zone, owner: node.id, clock, log },
    zones: async () => zonesOf(await store.view()),
    carryOut: carryOut({ host, clock, log }),
    waitsFor: () => host.waitsFor,
  });
  nodes.start();
  return nodes;
}

function serve({ clock, config }: Context, bus: Bus, { store, bind, host, hosts, nodes }: Parts): Promise<Closable> {
  const servers = { store, bind, bus, clock, host };
  const records = { store, bind, zone: config.zone };
  return bus.serve(dnsContract, "core", {
    listServers: listServersHandler(servers),
    setServer: setServerHandler(servers),
    deleteServer: deleteServerHandler(servers),
    checkServer: checkServerHandler(servers),
    listKeys: listKeysHandler({ store }),
    setKey: setKeyHandler({ store, bus, clock }),
    deleteKey: deleteKeyHandler({ store }),
    checkKey: checkKeyHandler({ store, bind, bus, clock }),
    rotateKeys: host.handler("dns.rotate-keys"),
    listRecords: listRecordsHandler(records),
    checkPropagation: checkPropagationHandler(records),
    checkDnssec: checkDnssecHandler({ store, bind, clock }),
    listChanges: listChangesHandler({ store, host }),
    checkChange: checkChangeHandler({ store, bind, host }),
    changeRecords: host.handler("dns.change-records"),
    listHosts: listHostsHandler({ store, hosts, wishes: (zones) => nodes?.wishes(zones) ?? [] }),
    registerHost: host.handler("dns.register-host"),
    deregisterHost: host.handler("dns.deregister-host"),
  });
}
