// SPDX-License-Identifier: Apache-2.0
/** What the mDNS tests share: announcements of made-up nodes, and who sends them; recorded changes; waiting for a condition. */
import { createSocket } from "node:dgram";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import type { CandidateChange } from "@debvisor/shared/drivers/mdns-candidates";
import { type Announcement, buildRecords, type MdnsRecord, type MdnsTxt } from "@debvisor/shared/drivers/mdns-records";
import { makeTag } from "@debvisor/shared/drivers/mdns-tag";

/** The codec below bonjour-service; it has no types of its own. */
const { encode } = createRequire(import.meta.url)("dns-packet") as {
  encode(packet: { type: "response"; flags: number; answers: readonly MdnsRecord[] }): Uint8Array;
};

/** Advertise key of the cluster in the tests. */
export const KEY = new Uint8Array(32).fill(42);

/** The n-th of many well-formed node ids that begin with `prefix` (letters a to z). */
export function nodeId(prefix: string, n: number): string {
  const digits = n.toString(26).replace(/[0-9]/g, (digit) => "qrstuvwxyz"[Number(digit)] ?? "q");
  return prefix + digits.padStart(16 - prefix.length, "a");
}

/** What a made-up node says about itself. */
export function announcement(nid: string, more: Partial<MdnsTxt> = {}, key = KEY): Announcement {
  const salt = "00112233aabbccdd";
  const rest = { v: "1", st: "joining" as const, role: "worker", ver: "0.1.0", host: `host-${nid.slice(-3)}` };
  return { instance: nid, port: 7443, txt: { ...rest, salt, tag: makeTag(key, salt), nid, ...more } };
}

/** Sends records of nodes that are not there, on loopback. */
export async function rogueSender() {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  socket.setMulticastInterface("127.0.0.1");
  return {
    /** Each record once, with that address. */
    send: async (what: Announcement, address: string): Promise<void> => {
      const packet = encode({ type: "response", flags: 1024, answers: buildRecords(what, [address]) });
      await new Promise<void>((resolve) => socket.send(packet, 5353, "224.0.0.251", () => resolve()));
    },
    [Symbol.dispose]: () => void socket.close(),
  };
}

/** `<kind> <instance>` of a change, with the cause of a departure. */
export function word(change: CandidateChange): string {
  return `${change.kind === "gone" ? change.cause : change.kind} ${change.candidate.instance}`;
}

/** Waits until the condition holds. @throws Error after `limitMs` */
export async function until(condition: () => boolean, limitMs: number, what: string): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`did not happen within ${limitMs} ms: ${what}`);
    await sleep(20);
  }
}
