// SPDX-License-Identifier: Apache-2.0
/** Operation `getMetrics`: how busy the host is. */
import type { Metrics } from "@debvisor/proto-events/node-agent";
import type { MetricsLoop } from "../reconcilers/metrics.ts";

/** Answers with the rates since the loop's last sample. */
export function getMetricsHandler(deps: { readonly metrics: Pick<MetricsLoop, "read"> }): () => Promise<Metrics> {
  return () => deps.metrics.read();
}
