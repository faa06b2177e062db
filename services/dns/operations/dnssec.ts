// SPDX-License-Identifier: Apache-2.0
/**
 * The signatures of a zone on every server: whether they are there, whether the chain from the zone's own key holds, and when they end.
 * The key is the one that the first primary shows, since a zone like debvisor.local has no parent that vouches for it.
 */
import type { dnsContract } from "@debvisor/proto-events/dns";
import type { DnsServer, DnssecState } from "@debvisor/proto-events/dns-data";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Bind } from "../drivers/bind.ts";
import type { Reply } from "../drivers/bind-output.ts";
import { domainName } from "../model/names.ts";
import { signatureEnd } from "../model/signatures.ts";
import type { DnsStore, DnsView } from "../reconcilers/dns-store.ts";
import { serialOf, serversOf } from "./ask-servers.ts";

type C = typeof dnsContract;

export interface DnssecDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly clock: Clock;
}

const HOUR_MS = 3_600_000;
/** Flags of a key that signs keys (RFC 4034 §2.1.1). */
const ENTRY_KEY = /^257 /;

interface Look {
  readonly zone: string;
  readonly dnskey: string | undefined;
  /** Signatures have to last until then, in milliseconds since 1970. */
  readonly untilMs: number;
  readonly signal: AbortSignal;
}

export function checkDnssecHandler(deps: DnssecDeps) {
  return async (input: Input<C, "checkDnssec">, { signal }: RequestContext): Promise<Output<C, "checkDnssec">> => {
    const zone = domainName(input.zone, "zone");
    const view = await deps.store.view();
    const { all, primaries } = serversOf(view, zone);
    const dnskey = await entryKey(deps.bind, view, primaries, { zone, signal });
    const look = { zone, dnskey, untilMs: deps.clock.now() + input.hours * HOUR_MS, signal };
    const servers = await Promise.all(all.map((server) => stateOf(deps.bind, view, server, look)));
    const every = (status: DnssecState["status"]) => servers.every((one) => one.status === status);
    return { zone, verdict: every("ok") ? "ok" : every("unsigned") ? "unsigned" : "failed", servers };
  };
}

/** The key by which the zone is entered; undefined when no primary shows one. */
async function entryKey(
  bind: Bind,
  view: DnsView,
  primaries: readonly DnsServer[],
  { zone, signal }: Pick<Look, "zone" | "signal">,
): Promise<string | undefined> {
  for (const server of primaries) {
    try {
      const [reply] = await bind.query(view.endpoint(server), [{ name: zone, type: "DNSKEY" }], { signal });
      return reply?.records.find(({ type, data }) => type === "DNSKEY" && ENTRY_KEY.test(data))?.data;
    } catch (error) {
      if (toDvError(error).code !== "DNS_UNREACHABLE") throw error;
    }
  }
  return undefined;
}

async function stateOf(bind: Bind, view: DnsView, server: DnsServer, look: Look): Promise<DnssecState> {
  const who = { server: server.name, role: server.role };
  const { zone, dnskey, signal } = look;
  try {
    const endpoint = view.endpoint(server);
    const asked = ["SOA", "DNSKEY"].map((type) => ({ name: zone, type }));
    const replies = await bind.query(endpoint, asked, { signal, signatures: true });
    const serial = serialOf(replies[0]);
    const expiresMs = endOf(replies);
    const expiresAt = expiresMs === undefined ? null : new Date(expiresMs).toISOString();
    const about = { ...who, serial, expiresAt };
    if (expiresMs === undefined) return { ...about, status: "unsigned", detail: "its answers carry no signature" };
    if (dnskey === undefined) return { ...about, status: "failed", detail: "no primary shows the key of the zone" };
    const fault = await bind.validate(endpoint, { zone, dnskey }, { signal });
    if (fault !== undefined) return { ...about, status: "failed", detail: fault };
    if (expiresMs < look.untilMs) return { ...about, status: "failed", detail: "its signatures end too soon" };
    return { ...about, status: "ok", detail: "the chain holds" };
  } catch (error) {
    const { code, message } = toDvError(error);
    if (code !== "DNS_UNREACHABLE") throw error;
    return { ...who, status: "unreachable", serial: null, expiresAt: null, detail: message };
  }
}

/** When the first of the signatures in replies ends, in milliseconds since 1970; undefined when one has none. */
function endOf(replies: readonly Reply[]): number | undefined {
  const ends = replies.map(({ records }) =>
    records.filter(({ type }) => type === "RRSIG").map(({ data }) => signatureEnd(data)),
  );
  return ends.some((own) => own.length === 0) ? undefined : Math.min(...ends.flat());
}
