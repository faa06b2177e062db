// SPDX-License-Identifier: Apache-2.0
/** Judges how well the cluster is from what was observed. Pure. */
import type { Contract } from "@debvisor/proto-events/kit";

/** State of a part or of the whole. */
export type State = "ok" | "degraded" | "failed" | "unknown";

/** State with a sentence for the operator. */
export interface Verdict {
  readonly state: State;
  readonly detail: string;
}

/** Nodes by liveness. */
export interface NodeCounts {
  readonly total: number;
  readonly alive: number;
  readonly suspect: number;
  readonly lost: number;
  readonly disabled: number;
}

/** A service instance, as far as status looks at it. */
export interface SeenInstance {
  readonly service: string;
  readonly part: string;
  readonly node: string;
}

const BADNESS: Readonly<Record<State, number>> = { ok: 0, unknown: 1, degraded: 2, failed: 3 };

/** The worst of several states. */
export function worst(states: readonly State[]): State {
  return states.reduce<State>((bad, state) => (BADNESS[state] > BADNESS[bad] ? state : bad), "ok");
}

/** Counts nodes by liveness. */
export function countNodes(nodes: readonly { readonly state: string }[]): NodeCounts {
  const of = (state: string) => nodes.filter((node) => node.state === state).length;
  return {
    total: nodes.length,
    alive: of("alive"),
    suspect: of("suspect"),
    lost: of("lost"),
    disabled: of("disabled"),
  };
}

/** Judges the nodes. */
export function judgeNodes({ total, alive, suspect, lost, disabled }: NodeCounts): Verdict {
  const detail = [
    `${alive} of ${total} alive`,
    ...some(suspect, "suspect"),
    ...some(lost, "lost"),
    ...some(disabled, "disabled"),
  ].join(", ");
  if (total === 0) return { state: "unknown", detail: "no node is registered yet" };
  if (alive === 0 && disabled < total) return { state: "failed", detail };
  return { state: suspect + lost > 0 ? "degraded" : "ok", detail };
}

/** Judges one service by the contracts that it implements: its core part must answer somewhere, its node part on every live node. */
export function judgeService(
  name: string,
  contracts: readonly Contract[],
  instances: readonly SeenInstance[],
  aliveNodes: readonly { readonly id: string; readonly name: string }[],
): Verdict {
  const scopes = new Set(contracts.flatMap(({ operations }) => Object.values(operations).map(({ scope }) => scope)));
  const mine = instances.filter(({ service }) => service === name);
  const core = mine.filter(({ part }) => part === "core").length;
  if (scopes.has("core") && core === 0) return { state: "failed", detail: "nobody answers" };
  const onNodes = new Set(mine.filter(({ part }) => part === "node").map(({ node }) => node));
  const missing = scopes.has("node") ? aliveNodes.filter(({ id }) => !onNodes.has(id)).map(({ name }) => name) : [];
  if (missing.length > 0) {
    const named = `${missing.slice(0, 5).join(", ")}${missing.length > 5 ? ` and ${missing.length - 5} more` : ""}`;
    return { state: onNodes.size === 0 ? "failed" : "degraded", detail: `missing on ${named}` };
  }
  return { state: "ok", detail: `${mine.length} ${mine.length === 1 ? "instance" : "instances"}` };
}

function some(count: number, word: string): string[] {
  return count > 0 ? [`${count} ${word}`] : [];
}
