// SPDX-License-Identifier: Apache-2.0
/**
 * Fills a LAN with advertisements of nodes that are not there: `rogue-advertiser.ts <address of this host> <how many>`, over and over
 * until it is killed. Each names the port of the join at an address where nothing is. Prints how many it has sent after each round.
 */
import { createSocket } from "node:dgram";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { buildRecords } from "@debvisor/shared/drivers/mdns-records";
import { announcement, nodeId } from "../integration/discovery/instance.ts";

// The package has no types.
const { encode } = createRequire(import.meta.url)("dns-packet") as { encode(packet: object): Buffer };

const JOIN_PORT = 8422;
/** Packets between two pauses, so that the receivers' socket buffers hold them. */
const BURST = 25;
const PAUSE_MS = 5;

const [, , address = "", count = "0"] = process.argv;
const socket = createSocket({ type: "udp4", reuseAddr: true });
await new Promise<void>((resolve) => socket.bind(5353, address, resolve));
socket.setMulticastInterface(address);
for (let sent = 0; ; ) {
  for (let n = 0; n < Number(count); n++) {
    const rogue = announcement(nodeId("evil", n), { host: `rogue-${n}`, role: "server" });
    const place = `10.77.0.${100 + (n % 100)}`;
    const answers = buildRecords({ ...rogue, port: JOIN_PORT }, [place]);
    const packet = encode({ type: "response", flags: 1024, answers });
    await new Promise<void>((resolve) => socket.send(packet, 5353, "224.0.0.251", () => resolve()));
    sent += 1;
    if (n % BURST === BURST - 1) await sleep(PAUSE_MS);
  }
  process.stdout.write(`${sent}\n`);
}
