// SPDX-License-Identifier: Apache-2.0
/** A machine that belongs to no cluster yet, on mDNS: it says that it waits, and hears of the places where others listen. */
import { randomBytes } from "node:crypto";
import { createMdns } from "@debvisor/shared/drivers/mdns";
import type { Candidate } from "@debvisor/shared/drivers/mdns-candidates";
import { makeTag, SALT_BYTES, verifyTag } from "@debvisor/shared/drivers/mdns-tag";
import type { Logger } from "@debvisor/shared/log";
import { VERSION } from "@debvisor/shared/version";
import { advertiseKeyOf } from "../membership-of.ts";
import type { Machine } from "./machine.ts";

const REFRESH_MS = 500;

/**
 * Announces the machine and calls back with places of servers to dial. Without a `secret` that is every one that says it belongs to a
 * cluster: another one that waits could not let it in.
 */
export async function announceWaiting(
  machine: Machine,
  { cluster = "", secret, interfaces }: { cluster?: string; secret?: string; interfaces: readonly string[] },
  onPlace: (host: string, port: number) => void,
  log: Logger,
): Promise<{ stop(): Promise<void> }> {
  const key = secret === undefined ? undefined : advertiseKeyOf({ cluster, secret });
  const salt = randomBytes(SALT_BYTES).toString("hex");
  const mdns = await createMdns({
    interfaces: [...interfaces],
    wait: true,
    verify: (txt) => key !== undefined && verifyTag(key, txt.salt, txt.tag),
    onError: ({ code, message }) => log.warn({ code, error: message }, "mdns"),
  });
  mdns.advertise({
    instance: machine.id,
    port: machine.endpoints.join,
    txt: {
      v: "1",
      salt,
      // A machine without a secret has no tag to show; a random one tells nothing and is recognised by nobody.
      tag: key ? makeTag(key, salt) : randomBytes(8).toString("hex"),
      nid: machine.id,
      st: "joining",
      role: machine.role,
      ver: VERSION,
      host: machine.name,
    },
  });
  // Workers let nobody in and have no vote. One that is said to be one and is a server says so itself the next time.
  const mayAnswer = ({ verified, txt }: Candidate) => txt.role !== "worker" && (key ? verified : txt.st === "ready");
  const browse = mdns.browse(
    ({ kind, candidate }) => {
      if (kind === "gone" || candidate.instance === machine.id || !mayAnswer(candidate)) return;
      for (const address of candidate.addresses) onPlace(address, candidate.port);
    },
    { refreshMs: REFRESH_MS },
  );
  return {
    stop: async () => {
      browse.stop();
      await mdns.close();
    },
  };
}
