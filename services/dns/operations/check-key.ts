// SPDX-License-Identifier: Apache-2.0
/**
 * Checks one key: is it stored, can its secret be used, and does every server that it is for take what it signs. A key that is given with
 * its secret is signed with and kept nowhere.
 */
import { dnsContract } from "@debvisor/proto-events/dns";
import type { DnsServer } from "@debvisor/proto-events/dns-data";
import type { KeyCheck } from "@debvisor/proto-events/dns-keys";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { Bus, RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Bind, TsigSecret } from "../drivers/bind.ts";
import type { DnsStore, DnsView } from "../reconcilers/dns-store.ts";
import { fingerprintOf, requireStrong } from "../reconcilers/key-seal.ts";
import { tsigError } from "./ask-servers.ts";

type C = typeof dnsContract;

export interface CheckKeyDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly bus: Pick<Bus, "publishEvent">;
  readonly clock: Clock;
}

const BLANK = { server: null, zone: null, code: null, skewSeconds: null };

export function checkKeyHandler({ store, bind, bus, clock }: CheckKeyDeps) {
  return async (
    input: Input<C, "checkKey">,
    { signal, actor, requestId }: RequestContext,
  ): Promise<Output<C, "checkKey">> => {
    const view = await store.view();
    const { key, first } = keyOf(view, input);
    const fingerprint = fingerprintOf(key.secret);
    const servers = serversOf(view, key.name);
    const asked = await Promise.all(
      servers.map((server) => askServer(bind, server, key, { nowMs: clock.now(), signal })),
    );
    const unused = { ...BLANK, check: "signature" as const, status: "skipped" as const, detail: "no server uses it" };
    const checks = [...first, ...(asked.length > 0 ? asked.flat() : [unused])];
    const failed = checks.filter(({ status }) => status === "failed");
    if (failed.length > 0)
      await bus.publishEvent(
        dnsContract,
        "key.failed",
        { key: key.name, fingerprint, checks: failed.slice(0, SHOWN) },
        { subject: key.name, actor, requestId },
      );
    const verdict = failed.length > 0 ? "failed" : "ok";
    return { key: key.name, algorithm: key.algorithm, fingerprint, verdict, checks };
  };
}

/** Checks that an event names. */
const SHOWN = 50;

/** @throws DNS_KEY_NOT_FOUND, DNS_KEY_INVALID */
function keyOf(view: DnsView, { key: name, algorithm, secret }: Input<C, "checkKey">) {
  const known = view.keys.find((one) => one.name === name);
  if (secret === undefined) {
    const key = view.secretOf(name);
    return {
      key,
      first: [passed("stored", `stored ${known?.storedAt}`), passed("secret", `${key.algorithm}, opened`)],
    };
  }
  requireStrong(secret);
  const key: TsigSecret = { name, algorithm: algorithm ?? "hmac-sha256", secret };
  const isSame = known?.fingerprint === fingerprintOf(secret) && known.algorithm === key.algorithm;
  const stored: KeyCheck =
    known === undefined
      ? { ...BLANK, check: "stored", status: "skipped", detail: "the cluster has no key of that name" }
      : isSame
        ? passed("stored", "the cluster has the same")
        : { ...BLANK, check: "stored", status: "failed", code: "CONFLICT", detail: OTHER };
  return { key, first: [stored, passed("secret", `${key.algorithm}, given`)] };
}

const OTHER = "the cluster has another secret under that name";

function passed(check: "stored" | "secret", detail: string): KeyCheck {
  return { ...BLANK, check, status: "ok", detail };
}

/** Servers that use the key; every one for a key that none uses, which may be about to come into use. */
function serversOf({ servers, keys }: DnsView, name: string): readonly DnsServer[] {
  const usedBy = keys.find((key) => key.name === name)?.usedBy ?? [];
  return usedBy.length > 0 ? servers.filter((server) => usedBy.includes(server.name)) : servers;
}

/** A signed question for each zone; an update without effect tells what a question does not: whether it is the primary. */
async function askServer(
  bind: Bind,
  { name, address, port, zones, role, key: own }: DnsServer,
  key: TsigSecret,
  { nowMs, signal }: { readonly nowMs: number; readonly signal: AbortSignal },
): Promise<KeyCheck[]> {
  const endpoint = { name, address, port, key };
  const found: KeyCheck[] = [];
  for (const zone of zones) {
    const about = { ...BLANK, check: "signature" as const, server: name, zone };
    try {
      const fault = await bind.probe(endpoint, zone, { nowMs, signal });
      if (fault) throw tsigError(endpoint, zone, fault);
      // Only of the key that changes go by: others may have no right to.
      if (role === "primary" && own === key.name)
        await bind.update(endpoint, zone, [`prereq yxdomain ${zone}.`], { signal });
      found.push({ ...about, status: "ok", detail: `it takes ${key.name}` });
    } catch (error) {
      const { code, message, details } = toDvError(error);
      if (!code.startsWith("DNS_")) throw error;
      const skew = (details as { readonly skewSeconds?: number | null } | undefined)?.skewSeconds ?? null;
      found.push({ ...about, status: "failed", code, skewSeconds: skew, detail: message });
    }
    // What is wrong with a key is wrong in every zone, other than that it is no primary of one.
    if (found.at(-1)?.code?.startsWith("DNS_TSIG_")) break;
  }
  return found;
}
