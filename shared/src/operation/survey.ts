// SPDX-License-Identifier: Apache-2.0
/** Asks every selected node what a plan needs to know, and sorts the answers into targets, checks and findings. */
import type { Check, PlannedTarget } from "@debvisor/proto-events/durable";
import { DvError, toDvError } from "../errors.ts";
import type { TargetNode } from "./definition.ts";

/** What one node said. */
export interface Finding<T> {
  readonly node: TargetNode;
  readonly seen: T;
}

/** The answers of all. */
export interface Survey<T> {
  readonly findings: readonly Finding<T>[];
  /** Targets that are not asked or did not answer. */
  readonly others: readonly PlannedTarget[];
  readonly checks: readonly Check[];
}

/** Nodes asked at a time. */
const AT_ONCE = 200;

/**
 * Asks the nodes. A disabled one is skipped. One that does not answer is `unreachable`: among several that is a warning, alone it
 * is the failure. One that refuses fails its check. @throws UNAVAILABLE when no target answers
 */
export async function survey<T>(
  nodes: readonly TargetNode[],
  ask: (node: TargetNode) => Promise<T>,
): Promise<Survey<T>> {
  const findings: Finding<T>[] = [];
  const others: PlannedTarget[] = [];
  const checks: Check[] = [];
  for (let from = 0; from < nodes.length; from += AT_ONCE) {
    const answers = await Promise.all(nodes.slice(from, from + AT_ONCE).map((node) => askOne(node, ask)));
    for (const { node, seen, error } of answers) {
      if (error === undefined && seen !== undefined) findings.push({ node, seen: seen.value });
      else
        others.push(
          targetOf(node, error?.kind === "unavailable" || error?.kind === "timeout" ? "unreachable" : "skipped"),
        );
      checks.push(checkOf(node, error, nodes.length > 1));
    }
  }
  const asked = nodes.filter(({ state }) => state !== "disabled");
  const away = others.filter(({ state }) => state === "unreachable");
  if (asked.length > 0 && away.length === asked.length)
    throw new DvError("UNAVAILABLE", `No target answers: ${away.map(({ name }) => name).join(", ")}.`, {
      details: { checks },
    });
  return { findings, others, checks };
}

async function askOne<T>(node: TargetNode, ask: (node: TargetNode) => Promise<T>) {
  if (node.state === "disabled") return { node, seen: undefined, error: undefined };
  try {
    return { node, seen: { value: await ask(node) }, error: undefined };
  } catch (error) {
    return { node, seen: undefined, error: toDvError(error) };
  }
}

/** A target of a plan. */
export function targetOf({ id, name, zone }: TargetNode, state: PlannedTarget["state"]): PlannedTarget {
  return { id, name, zone, state };
}

function checkOf(node: TargetNode, error: DvError | undefined, several: boolean): Check {
  const { name: target } = node;
  const id = "target.answers";
  if (node.state === "disabled")
    return { id, target, status: "warned", message: "disabled; skipped", hint: `dvctl nodes enable ${target}` };
  if (!error) return { id, target, status: "passed", message: "answers", hint: null };
  const away = error.kind === "unavailable" || error.kind === "timeout";
  if (away)
    return {
      id,
      target,
      status: several ? "warned" : "failed",
      message: `does not answer: ${error.message}`,
      hint: `dvctl nodes show ${target} says when it was last heard`,
    };
  const hint =
    typeof error.details?.["hint"] === "string" ? error.details["hint"] : "correct it, or leave this node out";
  return { id: "target.allows", target, status: "failed", message: `${error.message} (${error.code})`, hint };
}
