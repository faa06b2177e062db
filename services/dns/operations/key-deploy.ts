// SPDX-License-Identifier: Apache-2.0
/** Brings keys to the servers of members, and finds out by signed questions what these servers really take. */

import { type DnsServer, type KeyPurpose, TsigAlgorithm } from "@debvisor/proto-events/dns-data";
import { type KeysHeld, nameserverContract } from "@debvisor/proto-events/nameserver";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { Reader, StepContext } from "@debvisor/shared/operation/definition";
import type { Bind, CallOptions, Endpoint } from "../drivers/bind.ts";
import { type Holding, heldKeys, keysFileOf, purposesOf } from "../model/key-ring.ts";
import type { DnsStore, DnsView } from "../reconcilers/dns-store.ts";
import type { OrderGuard } from "../reconcilers/order-guard.ts";
import { readSets, tsigError } from "./ask-servers.ts";

/** What a rotation works with. */
export interface RotateDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly bus: Bus;
  readonly guard: OrderGuard;
}

/** A server that runs on a member. */
export interface ManagedServer extends DnsServer {
  readonly node: NonNullable<DnsServer["node"]>;
}

/** Longest wait for one node; rndc and named-checkconf have ten seconds each there. */
const ORDER_MS = 12_000;
/** A server may load its keys a moment after it was told. */
const SETTLE_MS = 5_000;
const LOOK_EVERY_MS = 100;
const ZONES_AT_ONCE = 8;

/** The servers that run on members. */
export function managedServers({ servers }: Pick<DnsView, "servers">): readonly ManagedServer[] {
  return servers.filter((server): server is ManagedServer => server.node !== null);
}

/** Writes the keys that each managed server is to have, all at once. @throws TOOL_FAILED, COMMAND_REFUSED, UNAVAILABLE and others */
export async function deploy(
  { bus }: RotateDeps,
  view: DnsView,
  holding: Holding,
  context: StepContext,
): Promise<void> {
  const { order, submission } = context;
  const secretOf = (name: string) => {
    const { algorithm, ...key } = view.secretOf(name);
    return { ...key, algorithm: TsigAlgorithm.parse(algorithm) };
  };
  // A secondary that asks with a key which its primary has not got yet would not ask again for minutes.
  for (const role of ["primary", "secondary"] as const) {
    const servers = managedServers(view).filter((server) => server.role === role);
    await allOf(servers, async (server) => {
      const file = keysFileOf(server, view.servers, view.ring, holding, secretOf);
      const options = { actor: submission.actor, timeoutMs: ORDER_MS };
      await bus.command(server.node, nameserverContract, "setKeys", file, order, options).catch((error: unknown) => {
        const { code, message } = toDvError(error);
        // Others may have theirs already, so the step has had an effect, whatever became of this order.
        throw code === "UNAVAILABLE" ? unknownAt(server, message) : error;
      });
    });
  }
}

/** What passes by itself and may have had an effect. */
export function unknownAt({ name }: Pick<DnsServer, "name">, message: string): DvError {
  return new DvError("TIMEOUT", `${name} has not got its keys yet: ${message}`);
}

/** Whether every managed server has these keys in its file, and no others. */
export async function holds(view: DnsView, holding: Holding, reader: Reader): Promise<boolean> {
  const print = (name: string) => `${name} ${view.keys.find((key) => key.name === name)?.fingerprint}`;
  const answers = await Promise.all(
    managedServers(view).map(async (server) => {
      const { keys }: KeysHeld = await reader.request(server.node, nameserverContract, "getKeys", {});
      const wanted = purposesOf(server).flatMap((purpose) => heldKeys(view.ring, purpose, holding));
      const held = keys.map(({ name, fingerprint }) => `${name} ${fingerprint}`);
      return wanted.map(print).sort().join() === held.sort().join();
    }),
  );
  return answers.every(Boolean);
}

/** Asks until every managed server takes all these keys for what they are for. @throws DNS_*, the last fault */
export async function verifyTaken(
  deps: RotateDeps,
  view: DnsView,
  holding: Holding,
  context: StepContext,
): Promise<void> {
  const secondaries = managedServers(view).filter(({ role }) => role === "secondary");
  const copied = (zone: string) => secondaries.some(({ zones }) => zones.includes(zone));
  await allOf(managedServers(view), async (server) => {
    for (const purpose of purposesOf(server)) {
      for (const name of heldKeys(view.ring, purpose, holding)) {
        const endpoint = endpointOf(server, view, name);
        const asked = { endpoint, purpose, copied };
        await settled(context, () => takes(deps.bind, server, asked, { signal: context.signal }));
      }
    }
  });
}

/** Asks until every managed server answers BADKEY to these keys. @throws CONFLICT when one still takes one, DNS_UNREACHABLE */
export async function verifyRefused(
  { bind }: RotateDeps,
  view: DnsView,
  gone: (purpose: KeyPurpose) => string | undefined,
  context: StepContext,
): Promise<void> {
  await allOf(managedServers(view), async (server) => {
    for (const purpose of purposesOf(server)) {
      const name = gone(purpose);
      if (name === undefined) continue;
      await settled(context, async () => {
        const fault = await bind.probe(endpointOf(server, view, name), zoneOf(server), { signal: context.signal });
        if (fault?.error !== "BADKEY")
          throw new DvError("CONFLICT", `${server.name} still takes the key ${name}; is it in its named.conf as well?`);
      });
    }
  });
}

/** Asks until every secondary has what its primaries have: it copies with the key that signs now. @throws DNS_NOT_PROPAGATED */
export async function verifyCopied({ bind }: RotateDeps, view: DnsView, context: StepContext): Promise<void> {
  const secondaries = managedServers(view).filter(({ role }) => role === "secondary");
  const primaries = managedServers(view).filter(({ role }) => role === "primary");
  const { signal } = context;
  const serialOf = async ({ name, address, port }: DnsServer, zone: string) =>
    (await readSets(bind, { name, address, port, key: null }, zone, [], { signal })).serial ?? 0;
  await allOf(secondaries, async (secondary) => {
    for (const zone of secondary.zones) {
      const primary = primaries.find(({ zones }) => zones.includes(zone));
      if (!primary) continue;
      const wanted = await serialOf(primary, zone);
      await settled(context, async () => {
        const serial = await serialOf(secondary, zone);
        if (serial < wanted)
          throw new DvError("DNS_NOT_PROPAGATED", `${secondary.name} has serial ${serial} of ${zone}, not ${wanted}.`);
      });
    }
  });
}

/** What keeps a managed server from taking part; undefined: nothing. */
export async function hindrance(
  bind: Bind,
  server: ManagedServer,
  { servers }: DnsView,
  reader: Reader,
): Promise<string | undefined> {
  const copies = (zone: string) => servers.some(({ role, zones }) => role === "primary" && zones.includes(zone));
  // BIND takes no configuration in which a secondary has nobody to copy from.
  if (server.role === "secondary" && !server.zones.some(copies)) return "no primary of its zones is configured";
  try {
    const held = await reader.request(server.node, nameserverContract, "getKeys", {}, { timeoutMs: 5_000 });
    if (held.fault !== null) return `its node cannot have it read its keys: ${held.fault}`;
    const { name, address, port } = server;
    // Whatever it answers: a secondary without a key has no zone yet.
    const question = { name: zoneOf(server), type: "SOA" };
    await bind.query({ name, address, port, key: null }, [question], { signal: reader.signal });
    return undefined;
  } catch (error) {
    reader.signal.throwIfAborted();
    const { code, message } = toDvError(error);
    return `it does not take part (${code}): ${message}`;
  }
}

function endpointOf({ name, address, port }: DnsServer, view: DnsView, key: string): Endpoint {
  return { name, address, port, key: view.secretOf(key) };
}

function zoneOf({ zones }: DnsServer): string {
  return zones[0] ?? ".";
}

/**
 * A question tells of the key itself; what it is for, an update without effect and a transfer tell. Which zones are open to virtual machines
 * is for whoever wrote named.conf to say. @throws DNS_*
 */
async function takes(
  bind: Bind,
  server: DnsServer,
  { endpoint, purpose, copied }: { endpoint: Endpoint; purpose: KeyPurpose; copied: (zone: string) => boolean },
  options: CallOptions,
): Promise<void> {
  const zone = zoneOf(server);
  const fault = await bind.probe(endpoint, zone, options);
  if (fault) throw tsigError(endpoint, zone, fault);
  if (server.role !== "primary" || purpose === "vm") return;
  const zones = purpose === "transfer" ? server.zones.filter(copied) : server.zones;
  for (let i = 0; i < zones.length; i += ZONES_AT_ONCE) {
    await allOf(zones.slice(i, i + ZONES_AT_ONCE), async (one) => {
      if (purpose === "transfer") await bind.transfer(endpoint, one, options);
      else await bind.update(endpoint, one, [`prereq yxdomain ${one}.`], options);
    });
  }
}

/** Repeats what fails for as long as a server may take. @throws what it threw last */
async function settled({ clock, signal }: StepContext, look: () => Promise<void>): Promise<void> {
  const deadline = clock.monotonic() + SETTLE_MS;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      signal.throwIfAborted();
      if (clock.monotonic() >= deadline || !toDvError(error).code.match(/^DNS_|^CONFLICT$/)) throw error;
      await clock.sleep(LOOK_EVERY_MS, signal);
    }
  }
}

/** Does it for each beside each other and waits for all, so that nothing goes on after a failure. @throws the first failure */
async function allOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const outcomes = await Promise.allSettled(items.map(work));
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed) throw failed.reason;
}
