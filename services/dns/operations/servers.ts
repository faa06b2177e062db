// SPDX-License-Identifier: Apache-2.0
/** Servers that the cluster knows: list, add, remove, check. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { DnsServer } from "@debvisor/proto-events/dns-data";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { Bus, RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import type { OperationHost } from "@debvisor/shared/operation/operation-host";
import type { Bind, Endpoint } from "../drivers/bind.ts";
import { domainName, invalid } from "../model/names.ts";
import { type DnsStore, findServer } from "../reconcilers/dns-store.ts";
import { readSets, tsigError } from "./ask-servers.ts";

type C = typeof dnsContract;
type Check = Output<C, "checkServer">["checks"][number];

export interface ServerDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly host: Pick<OperationHost, "node">;
}

/** Zones that are looked at together. */
const AT_ONCE = 8;

const LIST = {
  fields: fieldsOf(DnsServer),
  aliases: { zone: "zones" },
  id: ({ name }: DnsServer) => name,
  sort: "name",
};

export function listServersHandler({ store }: Pick<ServerDeps, "store">) {
  return async (input: Input<C, "listServers">) => paginate([...(await store.view()).servers], input, LIST);
}

export function setServerHandler({ store, bus, clock, host }: Omit<ServerDeps, "bind">) {
  return async (input: Input<C, "setServer">, { actor, requestId }: RequestContext): Promise<DnsServer> => {
    const { server: name, address, port, role, key } = input;
    if (role === "primary" && key === undefined && input.node === undefined)
      throw invalid("A primary needs a key, or a node: without a signature anybody could change its records.");
    const node = input.node === undefined ? null : (await host.node(input.node)).id;
    const { server, changed } = await store.setServer({
      ...{ name, address, port, role, key: key ?? null, node },
      zones: [...new Set(input.zone.map((zone) => domainName(zone, "zone")))].sort(),
      addedAt: new Date(clock.now()).toISOString(),
      addedBy: actor,
    });
    if (changed)
      await bus.publishEvent(dnsContract, "server.added", factOf(server), { subject: name, actor, requestId });
    return server;
  };
}

export function deleteServerHandler({ store, bus }: Pick<ServerDeps, "store" | "bus">) {
  return async (
    { server: name }: Input<C, "deleteServer">,
    { actor, requestId }: RequestContext,
  ): Promise<DnsServer> => {
    const server = await store.deleteServer(name);
    await bus.publishEvent(dnsContract, "server.removed", factOf(server), { subject: name, actor, requestId });
    return server;
  };
}

function factOf({ addedAt: _at, addedBy: _by, ...fact }: DnsServer) {
  return fact;
}

export function checkServerHandler({ store, bind, clock }: Omit<ServerDeps, "bus" | "host">) {
  return async (
    { server: name }: Input<C, "checkServer">,
    { signal }: RequestContext,
  ): Promise<Output<C, "checkServer">> => {
    const view = await store.view();
    const server = findServer(view, name);
    const endpoint = view.endpoint(server);
    const checks: Check[] = [];
    for (let i = 0; i < server.zones.length; i += AT_ONCE) {
      const found = await Promise.all(
        server.zones
          .slice(i, i + AT_ONCE)
          .map(async (zone) => [
            await checkAnswer(bind, endpoint, zone, signal),
            await checkKey(bind, endpoint, { zone, role: server.role, nowMs: clock.now() }, signal),
          ]),
      );
      checks.push(...found.flat());
    }
    const failed = checks.some(({ status }) => status === "failed");
    return { server: name, verdict: failed ? "failed" : "ok", checks };
  };
}

/** Without the key, so that a wrong one does not hide what the zone says. */
async function checkAnswer(bind: Bind, endpoint: Endpoint, zone: string, signal: AbortSignal): Promise<Check> {
  const about = { zone, check: "answer" as const };
  try {
    const { serial } = await readSets(bind, { ...endpoint, key: null }, zone, [], { signal });
    return { ...about, status: "ok", code: null, serial, detail: "it is authoritative" };
  } catch (error) {
    return { ...about, ...failure(error), serial: null };
  }
}

/** A signed question tells of the signature; an update that changes nothing tells whether the key reaches the zone. */
async function checkKey(
  bind: Bind,
  endpoint: Endpoint,
  { zone, role, nowMs }: { readonly zone: string; readonly role: DnsServer["role"]; readonly nowMs: number },
  signal: AbortSignal,
): Promise<Check> {
  const about = { zone, check: "key" as const, serial: null };
  if (!endpoint.key) return { ...about, status: "skipped", code: null, detail: "it has no key" };
  try {
    const fault = await bind.probe(endpoint, zone, { nowMs, signal });
    if (fault) throw tsigError(endpoint, zone, fault);
    if (role === "primary") await bind.update(endpoint, zone, [`prereq yxdomain ${zone}.`], { signal });
    return { ...about, status: "ok", code: null, detail: `it takes ${endpoint.key.name}` };
  } catch (error) {
    return { ...about, ...failure(error) };
  }
}

/* What is wrong here and not there, such as a missing program, is no finding about the server. */
function failure(error: unknown): Pick<Check, "status" | "code" | "detail"> {
  const { code, message } = toDvError(error);
  if (!code.startsWith("DNS_")) throw error;
  return { status: "failed", code, detail: message };
}
