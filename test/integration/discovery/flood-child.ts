// SPDX-License-Identifier: Apache-2.0
/**
 * The victim of the flood test: browses as the discovery service does and keeps its ledger of peers. Prints one JSON line
 * when it listens, one when the node named on its command line is found, and one report when asked on standard input.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { createMdns } from "@debvisor/shared/drivers/mdns";
import { verifyTag } from "@debvisor/shared/drivers/mdns-tag";
import { Peers } from "../../../services/discovery/model/peers.ts";
import { toSighting } from "../../../services/discovery/reconcilers/presence.ts";
import { KEY } from "./instance.ts";

const wanted = process.argv[2];
const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const rssMb = () => {
  globalThis.gc?.();
  return process.memoryUsage().rss / 1024 / 1024;
};

const mdns = await createMdns({
  interfaces: ["127.0.0.1"],
  verify: ({ salt, tag }) => verifyTag(KEY, salt, tag),
  onError: (error) => process.stderr.write(`${error.message}\n`),
});
const peers = new Peers(performance.now());
let events = 0;
let startedAt = 0;
let found = false;
const browse = mdns.browse((change) => {
  if (change.kind === "gone") peers.absent(change.candidate.instance);
  else peers.present(toSighting(change.candidate, () => false));
  if (!found && change.candidate.instance === wanted) {
    found = true;
    print({ foundMs: performance.now() - startedAt });
  }
});
setInterval(() => (events += peers.take(performance.now()).length), 250);
await sleep(300);
const before = rssMb();
const heapMb = () => process.memoryUsage().heapUsed / 1024 / 1024;
const heapBefore = heapMb();
startedAt = performance.now();
print({ ready: 1 });

await once(process.stdin, "data");
await sleep(500);
const list = browse.list();
print({
  events,
  peers: peers.size,
  candidates: list.length,
  trueNode: list.filter(({ instance }) => instance === wanted).length,
  growthMb: rssMb() - before,
  heapGrowthMb: heapMb() - heapBefore,
  beforeMb: before,
});
