// SPDX-License-Identifier: Apache-2.0
/** The operations of contract host that a node answers itself, and what they share: the ledger, the host, the reports. */
import { join } from "node:path";
import { hostContract } from "@debvisor/proto-events/host";
import { nameserverContract } from "@debvisor/proto-events/nameserver";
import { type OpenEmitter, openEmitter } from "@debvisor/shared/audit/emitter";
import type { Bus, Closable, Refusal } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain, DvError, toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { type Ledger, openLedger } from "@debvisor/shared/operation/ledger";
import type { NodeIdentity } from "@debvisor/shared/service";
import type { NodeAgentConfig } from "./config.ts";
import { createHostControl, type Host } from "./host.ts";
import { getBootHandler } from "./operations/get-boot.ts";
import { getFileHandler } from "./operations/get-file.ts";
import { getUnitHandler } from "./operations/get-unit.ts";
import { getKeysHandler, setKeysHandler } from "./operations/nameserver-keys.ts";
import { rebootHostHandler } from "./operations/reboot-host.ts";
import { restartUnitHandler } from "./operations/restart-unit.ts";
import { writeFileHandler } from "./operations/write-file.ts";
import { createHostEvents } from "./reconcilers/host-events.ts";
import { createNameserver } from "./reconcilers/nameserver.ts";
import { refusalRecord, reportRefusals } from "./reconcilers/refusals.ts";
import { within } from "./reconcilers/repeat.ts";

/** Time for what is being written to be written, so that the next start finds nothing begun. */
const DRAIN_MS = 2_000;
/** A record that does not get there in this time is sent by the next process. */
const TRAIL_STOP_MS = 500;

/** What it needs. */
export interface NodeOrdersDeps {
  readonly node: NodeIdentity;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: Pick<Host, "isLab" | "hasSystemd" | "proc">;
  readonly config: Pick<NodeAgentConfig, "bindKeys" | "bindRndc" | "bindConfig">;
}

/** Answers until stopped; stopping waits for orders under way, up to two seconds, and tells those that wait to end. */
export async function serveOrders({ node, bus, clock, log, host, config }: NodeOrdersDeps): Promise<Closable> {
  const { files, manager } = createHostControl(node, host);
  const ledger = ledgerOf(join(node.stateDir, "ledger.sqlite"), { clock, log });
  const events = createHostEvents({ bus, node, log });
  const stopping = new AbortController();
  const deps = { files, manager, ledger, clock, events, stopping: stopping.signal };
  const trail = trailOf(node, { bus, clock, log });
  const record = trail && ((refusal: Refusal, count: number) => trail.record(refusalRecord(refusal, count, node.id)));
  reportRefusals({ bus, node, clock, log, record }, stopping.signal);
  const operations = await bus.serve(hostContract, "node", {
    getFile: getFileHandler(deps),
    writeFile: writeFileHandler(deps),
    getUnit: getUnitHandler(deps),
    restartUnit: restartUnitHandler(deps),
    getBoot: getBootHandler(deps),
    rebootHost: rebootHostHandler(deps),
  });
  const bind = { file: config.bindKeys, rndc: config.bindRndc, config: config.bindConfig };
  const own = { root: node.root, ownDir: join(node.stateDir, "../..") };
  const nameserver = { ...deps, nameserver: createNameserver({ ...own, ...bind }) };
  const keys = await bus.serve(nameserverContract, "node", {
    getKeys: getKeysHandler(nameserver),
    setKeys: setKeysHandler(nameserver),
  });
  return {
    stop: async () => {
      stopping.abort();
      await within(clock, DRAIN_MS, Promise.all([operations.stop(), keys.stop()]));
      ledger.close();
      await (trail && within(clock, TRAIL_STOP_MS, trail.stop()));
    },
  };
}

/** Without its own file of what was on its way, a node reports refusals as events only. */
function trailOf(
  { stateDir, bootId }: NodeIdentity,
  { bus, clock, log }: Pick<NodeOrdersDeps, "bus" | "clock" | "log">,
): OpenEmitter | undefined {
  try {
    return openEmitter({ bus, boot: bootId, clock, log, stateFile: join(stateDir, "audit-pending.json") });
  } catch (error) {
    log.error({ cause: causeChain(error) }, "refusals are not recorded in the audit trail");
    return undefined;
  }
}

/** A ledger that cannot be opened refuses every order and nothing else: the node is still to be seen and read. */
function ledgerOf(file: string, options: { clock: Clock; log: Logger }): Pick<Ledger, "execute" | "close"> {
  try {
    return openLedger(file, options);
  } catch (error) {
    const { code } = toDvError(error);
    options.log.fatal({ code, cause: causeChain(error) }, "the ledger cannot be opened; every order is refused");
    const refusal = new DvError("UNAVAILABLE", "This node takes no orders: its ledger cannot be opened.", {
      cause: error,
      details: { cause: code },
    });
    return { execute: () => Promise.reject(refusal), close: () => undefined };
  }
}
