// SPDX-License-Identifier: Apache-2.0
/**
 * Enters simulated agents into the node registry, as the projector would after their first heartbeats. Written directly,
 * because ten thousand nodes appearing one by one, each with its event, would take longer than the measurement.
 */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import { connectBus } from "@debvisor/shared/bus/connect";
import type { CredentialIssuer } from "@debvisor/shared/bus/trust";
import { silentLogger } from "@debvisor/shared/log";
import { z } from "zod";
import { inParallel } from "../parallel.ts";
import { identityOf } from "./identity.ts";
import type { AgentIdentity } from "./replies.ts";

const WRITES_AT_ONCE = 256;

/** Writes a record for every agent, under a credential of discovery's core part. */
export async function registerAgents(
  agents: readonly AgentIdentity[],
  options: { readonly servers: readonly string[]; readonly issuer: CredentialIssuer; readonly bootId: string },
): Promise<void> {
  const credential = await options.issuer.forCore("discovery", identityOf(0).id, [discoveryContract]);
  const bus = await connectBus({
    servers: options.servers,
    credential,
    origin: "core",
    node: identityOf(0),
    version: "0.1.0",
    log: silentLogger(),
  });
  try {
    const bucket = await bus.bucket("dv_nodes", z.unknown());
    await inParallel(agents, WRITES_AT_ONCE, (agent) => bucket.create(agent.id, record(agent, options.bootId)));
  } finally {
    await bus.close();
  }
}

function record({ id, name }: AgentIdentity, bootId: string) {
  const now = new Date().toISOString();
  return {
    id,
    name,
    state: "alive",
    roles: ["worker"],
    version: "0.1.0",
    addresses: ["192.0.2.1"],
    rack: null,
    zone: null,
    lastSeen: now,
    registeredAt: now,
    bootId,
    disabled: null,
    deleted: false,
    outbox: [],
  };
}
