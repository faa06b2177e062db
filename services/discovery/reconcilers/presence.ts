// SPDX-License-Identifier: Apache-2.0
/**
 * The node part: announces this node by mDNS, follows who else is there and publishes what changed. Without a usable
 * interface it waits for one; the rest of the service does not depend on it.
 */
import { randomBytes } from "node:crypto";
import { discoveryContract, type Sighting } from "@debvisor/proto-events/discovery";
import { createMdns, type Mdns } from "@debvisor/shared/drivers/mdns";
import type { Candidate } from "@debvisor/shared/drivers/mdns-candidates";
import type { MdnsTxt } from "@debvisor/shared/drivers/mdns-records";
import { makeTag, SALT_BYTES, verifyTag } from "@debvisor/shared/drivers/mdns-tag";
import { toDvError } from "@debvisor/shared/errors";
import type { ServiceContext } from "@debvisor/shared/service";
import { type DiscoveryConfig, joinPortOf } from "../config.ts";
import { type PeerFact, Peers } from "../model/peers.ts";

const PUBLISH_EVERY_MS = 250;

/** Whether a node id is registered; undefined where no registry can be asked (nodes that are no servers). */
export type IsRegistered = (id: string) => boolean | undefined;

/** A running node part. */
export interface Presence {
  readonly mdns: Mdns;
  stop(): Promise<void>;
}

/** Recognises tags that were made with this cluster's key. */
export function tagVerifier(key: Uint8Array): (txt: MdnsTxt) => boolean {
  return ({ salt, tag }) => verifyTag(key, salt, tag);
}

/** How an instance is shown. `unchecked`: its tag is ours, but nobody here knows the registry. */
export function toSighting(candidate: Candidate, isRegistered: IsRegistered): Sighting {
  const { instance, txt, addresses, port, verified, seenAt } = candidate;
  const registered = isRegistered(instance);
  const claimed = registered === undefined ? "unchecked" : registered ? "yes" : "no";
  return {
    instance,
    name: txt.host,
    addresses: [...addresses],
    port,
    role: txt.role,
    status: txt.st,
    version: txt.ver,
    member: verified ? claimed : "foreign",
    seenAt: new Date(seenAt).toISOString(),
  };
}

/** Starts announcing and following. Never throws for want of an interface. */
export async function startPresence(
  context: ServiceContext<DiscoveryConfig>,
  isRegistered: IsRegistered,
): Promise<Presence> {
  const { config, node, nodeBus, clock, log } = context;
  const mdns = await createMdns({
    interfaces: config.interfaces,
    wait: true,
    verify: tagVerifier(node.advertiseKey),
    onError: ({ code, message }) => log.warn({ code, error: message }, "mdns"),
    clock,
  });
  const status = () => (nodeBus.connected ? "ready" : "joining");
  const advertisement = mdns.advertise({
    instance: node.id,
    port: joinPortOf(node.dir, config),
    txt: announcedText(context, status()),
  });
  const peers = new Peers(clock.monotonic());
  const browse = mdns.browse(
    (change) => {
      const { candidate } = change;
      if (candidate.instance === node.id) return;
      if (change.kind === "gone") peers.absent(candidate.instance);
      else peers.present(toSighting(candidate, isRegistered));
    },
    { refreshMs: config.scanRefreshMs },
  );
  const stopping = new AbortController();
  const run = (async () => {
    while (!stopping.signal.aborted) {
      await clock.sleep(PUBLISH_EVERY_MS, stopping.signal);
      advertisement.update({ st: status() });
      if (nodeBus.connected && !stopping.signal.aborted) await publish(context, peers);
    }
  })();
  return {
    mdns,
    async stop() {
      stopping.abort();
      browse.stop();
      await mdns.close();
      await Promise.race([run, clock.sleep(500)]);
    },
  };
}

function announcedText({ node }: ServiceContext<DiscoveryConfig>, st: MdnsTxt["st"]): MdnsTxt {
  const salt = randomBytes(SALT_BYTES).toString("hex");
  const role = node.roles.includes("server") ? "server" : (node.roles[0] ?? "worker");
  return {
    v: "1",
    salt,
    tag: makeTag(node.advertiseKey, salt),
    nid: node.id,
    st,
    role,
    ver: node.version,
    host: node.name,
  };
}

async function publish({ nodeBus, clock, log }: ServiceContext<DiscoveryConfig>, peers: Peers): Promise<void> {
  const send = async (fact: PeerFact) => {
    try {
      await nodeBus.publishEvent(discoveryContract, fact.event, fact.peer, {
        subject: fact.peer.instance,
        patienceMs: 5_000,
      });
    } catch (error) {
      peers.giveBack(fact);
      log.warn({ peer: fact.peer.instance, code: toDvError(error).code }, "mdns: an event is not out yet");
    }
  };
  await Promise.all(peers.take(clock.monotonic()).map(send));
}
