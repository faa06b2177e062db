// SPDX-License-Identifier: Apache-2.0
/** Figures of the gateway's parts, for /metrics. */
import type { Bus } from "@debvisor/shared/bus/bus";
import type { AuditTrail } from "./audit-trail.ts";
import type { NodeDirectory } from "./directory.ts";
import type { EventHub } from "./events/hub.ts";
import type { EventStreams } from "./events/streams.ts";
import type { Metrics } from "./metrics.ts";
import type { Outbox } from "./outbox.ts";

/** Figures that are read when somebody asks for them. */
export function addSources(
  bus: Bus,
  metrics: Metrics,
  {
    outbox,
    trail,
    directory,
    hub,
    streams,
  }: { outbox: Outbox; trail: AuditTrail; directory: NodeDirectory; hub: EventHub; streams: EventStreams },
): void {
  metrics.addSources({
    debvisor_event_streams: { help: "Open event streams.", read: () => streams.counts.open },
    debvisor_event_streams_cut: {
      help: "Event streams that were cut because their reader was slow.",
      read: () => streams.counts.cut,
    },
    debvisor_telemetry_dropped: {
      help: "Telemetry frames that were not relayed because a reader was behind.",
      read: () => streams.counts.telemetryDropped,
    },
    debvisor_event_seq: { help: "Sequence of the last event read.", read: () => hub.lastSeq },
    debvisor_events_malformed: { help: "Stored messages that were no events.", read: () => hub.malformed },
    debvisor_outbox_lost: { help: "Events of the gateway that could not be published.", read: () => outbox.lost },
    debvisor_audit_refusals_queued: { help: "Refusals that wait for the audit trail.", read: () => trail.queued },
    debvisor_audit_refusals_lost: {
      help: "Refusals that were not recorded: too many at once, too many of one caller, or the trail did not take them.",
      read: () => trail.refusalsLost,
    },
    debvisor_audit_outcomes_lost: {
      help: "Outcomes that were not recorded; the audit service closes them as unknown.",
      read: () => trail.outcomesLost,
    },
    debvisor_audit_failed_closed: {
      help: "Changes that were refused because the audit trail did not acknowledge their record.",
      read: () => trail.failedClosed,
    },
    debvisor_bus_reconnects: { help: "Reconnects to the message bus.", read: () => bus.reconnects },
    debvisor_nodes: { help: "Registered nodes.", read: () => directory.list().length },
  });
}
