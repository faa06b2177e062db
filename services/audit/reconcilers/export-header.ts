// SPDX-License-Identifier: Apache-2.0
/** First line of an export: format, cluster, chain of trust, and what came before its first record. */
import type { TrailHeader } from "@debvisor/shared/audit/trail-file";
import type { Anchor } from "@debvisor/shared/audit/trust";
import { GENERATION } from "../model/generation.ts";
import type { Trail } from "./trail.ts";

export interface ExportDeps {
  readonly trail: Trail;
  readonly cluster: string;
  readonly anchor: Anchor;
}

/** `from` is at most one more than the size of the trail. */
export function exportHeader({ trail, cluster, anchor }: ExportDeps, from: number): TrailHeader {
  return {
    format: "debvisor-audit-trail",
    v: 1,
    cluster,
    generation: GENERATION,
    operator: anchor.operator,
    accounts: [...anchor.accounts],
    from,
    ...(from > 1 ? { before: trail.before(from) } : {}),
  };
}
