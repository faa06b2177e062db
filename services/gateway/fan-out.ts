// SPDX-License-Identifier: Apache-2.0
/**
 * Asks many nodes and gathers an exact census (DESIGN.md 5). Answers stay text: the scatter checks them, for a node may
 * send anything, and they are put into the reply as they came.
 */
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import type { Bus, CallOptions, TargetAnswer } from "@debvisor/shared/bus/bus";
import type { NodeDirectory, TargetSet } from "./directory.ts";
import { CensusCount, type ResultLine, resultJson } from "./model/census.ts";

/** A fan-out under way. */
export interface FanOut {
  /** One JSON line per target as the answers arrive, skipped ones first. */
  lines(): AsyncIterable<{ readonly node: string; readonly json: string }>;
  /** The counts; complete once the lines have ended. */
  readonly census: CensusCount;
  readonly targets: TargetSet;
}

/** Starts a fan-out to the nodes of a selection. @throws INVALID_ARGUMENT, NODE_NOT_FOUND, NO_TARGETS before anybody is asked */
export function startFanOut(
  deps: { readonly bus: Bus; readonly directory: NodeDirectory },
  operation: RegisteredOperation,
  selection: string,
  input: unknown,
  options: CallOptions,
): FanOut {
  const targets = deps.directory.select(selection);
  const census = new CensusCount(targets.total, targets.digest);
  const { answers } = deps.bus.scatter(targets.ask, operation.service, operation.wire, input, {
    ...options,
    timeoutMs: operation.spec.timeoutMs,
    output: operation.spec.output,
  });
  async function* lines(): AsyncGenerator<{ node: string; json: string }> {
    for (const { id, name } of targets.skipped) yield count({ node: id, name, status: "skipped", ms: 0 });
    for await (const answer of answers) yield count(toLine(answer, targets.names.get(answer.node) ?? answer.node));
  }
  const count = (line: ResultLine) => {
    census.add(line.status);
    return { node: line.node, json: resultJson(line) };
  };
  return { lines, census, targets };
}

/** The whole reply, in the order of the nodes' names. */
export async function gather(fanOut: FanOut): Promise<string> {
  const byNode = new Map<string, string>();
  for await (const { node, json } of fanOut.lines()) byNode.set(node, json);
  const results = [...fanOut.targets.names.keys()].map((id) => byNode.get(id) ?? "").join(",");
  return `{"census":${JSON.stringify(fanOut.census.result)},"results":[${results}]}`;
}

/** The reply as NDJSON: a line for each answer as it comes, the census last. */
export async function* stream(fanOut: FanOut): AsyncGenerator<string> {
  for await (const { json } of fanOut.lines()) yield `${json}\n`;
  yield `{"census":${JSON.stringify(fanOut.census.result)}}\n`;
}

/** The scatter has checked that an answer is JSON of the right shape. A line break in it would end an NDJSON line early. */
function toLine({ node, status, ms, raw, error }: TargetAnswer, name: string): ResultLine {
  return { node, name, status, ms, error, raw: raw?.includes("\n") ? JSON.stringify(JSON.parse(raw)) : raw };
}
