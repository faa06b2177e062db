// SPDX-License-Identifier: Apache-2.0
/**
 * What `debvisor-nats.service` runs on a server node: a nats-server as a member of the bus, from the node's files. Not
 * nats-server itself, because a lone server needs help to found a cluster and to come back (DESIGN.md 5).
 */
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { createLogger } from "@debvisor/shared/log";
import { openNode } from "@debvisor/shared/machine-binding";
import { untilValid } from "@debvisor/shared/nats-server/certificate";
import { followFiles } from "@debvisor/shared/nats-server/follow";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { memberFromFiles, startMember } from "@debvisor/shared/nats-server/member-from-files";
import { nodePaths, readMembership } from "@debvisor/shared/node-files";

const CERTIFICATE_PATIENCE_MS = 10_000;

const { values } = parseArgs({ options: { "node-dir": { type: "string", default: "/var/lib/debvisor" } } });
const dir = values["node-dir"];
const log = createLogger({ level: "info", base: { service: "nats" } });

try {
  const membership = readMembership(dir);
  if (!membership) throw new DvError("UNAVAILABLE", "This node does not belong to a cluster yet.");
  if (existsSync(nodePaths(dir).rescue))
    throw new DvError(
      "UNAVAILABLE",
      "A rescue of this server has not ended; go on with dvctl cluster rescue --confirm.",
    );
  const { path } = await locateNatsServer({ cacheDir: `${dir}/cache`, fetch: false, log: (line) => log.info(line) });
  const member = memberFromFiles(dir, openNode(dir), membership, path, log);
  if (!member) throw new DvError("UNAVAILABLE", "This node is no server; it uses the servers of others.");
  const following = followFiles(dir, member, log);
  const stop = () => {
    following.stop();
    void member.stop().finally(() => process.exit(0));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  await untilValid(nodePaths(dir).tls.certificate, CERTIFICATE_PATIENCE_MS, log);
  await startMember(member);
  log.info({ pid: member.pid }, "the bus is up");
} catch (error) {
  const failure = toDvError(error);
  log.fatal({ code: failure.code }, failure.message);
  process.exit(failure.exitCode);
}
