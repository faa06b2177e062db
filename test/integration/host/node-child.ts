// SPDX-License-Identifier: Apache-2.0
/** A node's part of contract host in a process of its own, to be killed. Its settings are the JSON file that is named. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { connectBus } from "@debvisor/shared/bus/connect";
import type { Credential } from "@debvisor/shared/bus/trust";
import { systemClock } from "@debvisor/shared/clock";
import { silentLogger } from "@debvisor/shared/log";
import type { NodeIdentity } from "@debvisor/shared/service";
import { nodeAgentConfig } from "../../../services/node-agent/config.ts";
import { createHost } from "../../../services/node-agent/host.ts";
import { serveOrders } from "../../../services/node-agent/node-orders.ts";

/** What the child is told. */
export interface ChildSettings {
  readonly id: string;
  readonly servers: readonly string[];
  readonly credential: Credential;
  readonly signers: readonly string[];
  readonly identity: NodeIdentity;
}

const { id, servers, credential, signers, identity } = JSON.parse(
  readFileSync(process.argv[2] ?? "", "utf8"),
) as ChildSettings;
const bus = await connectBus({
  servers,
  credential,
  origin: id,
  node: { id, name: "child" },
  version: "0.1.0",
  log: silentLogger(),
  commandSigners: signers,
});
const config = nodeAgentConfig.parse({});
const host = createHost(identity, config);
const node = { ...identity, advertiseKey: new Uint8Array(32) };
await serveOrders({ node, bus, clock: systemClock, log: silentLogger(), host, config });
process.stdout.write("ready\n");
