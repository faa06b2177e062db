// SPDX-License-Identifier: Apache-2.0
/**
 * What `debvisor-join.service` runs on a machine that belongs to no cluster: joins or founds one as its preseed file says, and ends.
 * The membership file that it leaves is what nats-server and the services start with. Without a preseed file there is nothing to do:
 * such a machine is let in by hand with `debvisor-join`.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { parsePreseed } from "@debvisor/shared/join/preseed";
import { createLogger } from "@debvisor/shared/log";
import { readMembership } from "@debvisor/shared/node-files";
import { joinMachine } from "../../services/discovery/joining/join-machine.ts";
import { openMachine } from "../../services/discovery/joining/machine.ts";

const { values } = parseArgs({
  options: {
    "node-dir": { type: "string", default: "/var/lib/debvisor" },
    preseed: { type: "string", default: "/etc/debvisor/preseed.yaml" },
  },
});
const log = createLogger({ level: "info", base: { service: "join" } });

try {
  const dir = values["node-dir"];
  if (readMembership(dir)) log.info("this machine belongs to a cluster already");
  else {
    const preseed = parsePreseed(readPreseed(values.preseed));
    const stopping = new AbortController();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stopping.abort());
    const machine = openMachine(dir, preseed);
    log.info(
      { node: machine.id, name: machine.name, role: machine.role, cluster: preseed.cluster },
      "looking for a cluster",
    );
    const { cluster, formation } = await joinMachine({ machine, preseed, log, signal: stopping.signal });
    log.info({ cluster, formation }, "this machine is a member");
  }
  process.exit(0);
} catch (error) {
  const failure = toDvError(error);
  log.fatal({ code: failure.code }, failure.message);
  process.exit(failure.exitCode);
}

function readPreseed(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new DvError("PRESEED_INVALID", `The preseed file ${file} cannot be read: ${(error as Error).message}.`);
  }
}
