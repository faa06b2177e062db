// SPDX-License-Identifier: Apache-2.0
/** The engine of dns on the bench's bus, with a primary and, when asked for, a secondary. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { dnsContract } from "@debvisor/proto-events/dns";
import type { Operation } from "@debvisor/proto-events/durable";
import { contractsOf } from "@debvisor/proto-events/registry";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import { connectBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { silentLogger } from "@debvisor/shared/log";
import { createIdentity } from "@debvisor/shared/node-files";
import { startEngine } from "@debvisor/shared/operation/engine";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { dnsDefinitions } from "../../services/dns/definitions.ts";
import { createBind } from "../../services/dns/drivers/bind.ts";
import { DnsStore } from "../../services/dns/reconcilers/dns-store.ts";
import type { TestBind } from "../../test/support/bind.ts";
import type { BenchBus } from "./bus.ts";

const { changeRecords } = dnsContract.operations;
const END_MS = 60_000;
/** The zone that is changed. */
export const ZONE = "bench.test";

export interface BenchDns extends AsyncDisposable {
  /** Names the secondary too: changes are then verified there as well. */
  addSecondary(): Promise<void>;
  /** Runs a change set to its end. */
  change(changes: readonly { readonly name: string; readonly data: readonly string[] }[]): Promise<Operation>;
}

/** Starts it; resolves when it accepts operations. */
export async function startBenchDns(bench: BenchBus, named: TestBind): Promise<BenchDns> {
  const log = silentLogger();
  const { id } = createIdentity();
  const bus = await connectBus({
    servers: bench.servers,
    credential: await bench.issuer.forCore("dns", id, contractsOf("dns")),
    ...{ origin: "core", node: { id, name: "bench" }, version: "0.1.0", log },
  });
  const folder = mkdtempSync(path.join(tmpdir(), "debvisor-bench-dns-"));
  const store = new DnsStore(bus, randomBytes(32).toString("base64"));
  const bind = createBind({ folder, answerMs: 2_000 });
  const audit = await openEmitter({ bus, boot: id, clock: systemClock, log });
  const definitions = dnsDefinitions({ store, bind, bus, zone: ZONE });
  const gate = () => Promise.resolve();
  const directory = { list: () => [] };
  const engine = await startEngine({
    ...{ service: "dns", nodeId: id, bus, definitions, audit, gate, directory, clock: systemClock, log },
  });
  while (engine.waitsFor !== undefined) await systemClock.sleep(5);
  const at = new Date().toISOString();
  const { name, secret } = named.key;
  await store.setKey({ name, algorithm: "hmac-sha256", secret }, { actor: "bench", at });
  const server = { address: "127.0.0.1", zones: [ZONE], addedAt: at, addedBy: "bench", node: null };
  await store.setServer({ ...server, name: "ns1", port: named.primary.port, role: "primary", key: name });
  const handler = engine.handler("dns.change-records");
  return {
    addSecondary: async () => {
      await store.setServer({ ...server, name: "ns2", port: named.secondary?.port ?? 0, role: "secondary", key: null });
    },
    change: async (changes) => {
      const signal = new AbortController().signal;
      const who = { requestId: randomBytes(8).toString("hex"), actor: "bench", user: undefined, source: undefined };
      const context = { ...who, traceId: undefined, order: undefined, operation: newOperationId(), signal, log };
      const { id: operation } = await handler(changeRecords.input.parse({ changes }) as never, context);
      return await engine.wait(operation ?? "", { ms: END_MS, signal });
    },
    [Symbol.asyncDispose]: async () => {
      await engine.stop();
      await audit.stop();
      await bus.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
