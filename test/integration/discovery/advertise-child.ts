// SPDX-License-Identifier: Apache-2.0
/**
 * A node of ours in a process of its own: `advertise-child.ts <interface> <node id>`. Prints each change that it sees; says
 * `ready` in its record at SIGUSR1; says goodbye and ends at SIGTERM.
 */
import { createMdns } from "@debvisor/shared/drivers/mdns";
import { announcement, word } from "./instance.ts";

const [at = "", nid = ""] = process.argv.slice(2);
const print = (line: string) => process.stdout.write(`${line}\n`);

const mdns = await createMdns({ interfaces: [at], onError: (error) => print(`error ${error.message}`) });
const advertisement = mdns.advertise(announcement(nid));
mdns.browse((change) => print(`${word(change)} ${change.candidate.port} ${change.candidate.addresses.join(" ")}`), {
  refreshMs: 1_000,
});
const keepAlive = setInterval(() => undefined, 1_000);
process.on("SIGUSR1", () => advertisement.update({ st: "ready" }));
process.on("SIGTERM", () => {
  clearInterval(keepAlive);
  void mdns.close().then(() => process.exit(0));
});
