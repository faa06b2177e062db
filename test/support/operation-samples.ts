// SPDX-License-Identifier: Apache-2.0
/** Operations as a gateway answers them, checked against the contract, so that no test talks to a server that cannot exist. */
import { Operation } from "@debvisor/proto-events/durable";
import type { CannedReply, SeenRequest } from "./canned-api.ts";

export const TIME = "2026-01-01T00:00:00.000Z";
const LATER = "2026-01-01T00:00:01.500Z";
export const DIGEST = "a".repeat(64);
export const ID = "op-k3x7w2mqabcde";
export const IDS = ["abcdefghij234567", "bcdefghij2345672", "cdefghij23456723"];

type Fields = Partial<Operation>;
type Target = Operation["targets"][number];

/** Target number n and how it stands. */
export function target(n: number, status: Target["status"] = "pending", error: Target["error"] = null): Target {
  return { id: IDS[n - 1] ?? "", name: `node-${n}`, status, error };
}

/** An operation on so many nodes. */
export function operation(nodes: number, fields: Fields = {}, plan: Partial<Operation["plan"]> = {}): Operation {
  const targets = Array.from({ length: nodes }, (_, i) => target(i + 1));
  return Operation.parse({
    id: ID,
    type: "host.put-file",
    version: 1,
    state: "running",
    mode: "apply",
    targets,
    plan: {
      digest: DIGEST,
      targetDigest: DIGEST,
      targets: targets.map(({ id, name }) => ({ id, name, zone: null, state: "change" })),
      steps: targets.map(({ name }, i) => ({ id: `put-${i}`, title: "write /etc/motd", target: name })),
      effects: targets.map(({ name }) => ({
        target: name,
        what: "file /etc/motd",
        before: "12 bytes",
        after: "5 bytes",
        diff: null,
      })),
      checks: [],
      undo: "The old content is restored.",
      ...plan,
    },
    progress: { percent: 50, done: 1, total: 2, ratePerMinute: 12, etaSeconds: 5 },
    steps: [],
    result: null,
    changed: null,
    error: null,
    actor: "abc",
    user: null,
    source: null,
    reason: null,
    override: null,
    priority: 5,
    requestId: null,
    owner: null,
    waitsFor: null,
    undoable: false,
    repair: null,
    revision: 1,
    createdAt: TIME,
    startedAt: TIME,
    updatedAt: TIME,
    endedAt: null,
    deadlineAt: null,
    ...fields,
  });
}

/** What a request for a plan is answered with. */
export const planned = (nodes: number, plan: Partial<Operation["plan"]> = {}, fields: Fields = {}) =>
  operation(nodes, { id: null, state: "planned", mode: "plan", ...fields }, plan);
/** An operation that has succeeded, unless the fields say otherwise. */
export const ended = (nodes: number, fields: Fields = {}) =>
  operation(nodes, {
    state: "succeeded",
    changed: true,
    undoable: true,
    endedAt: LATER,
    revision: 9,
    targets: Array.from({ length: nodes }, (_, i) => target(i + 1, "ok")),
    ...fields,
  });

/** Answers by mode of the request, and with the end to whoever waits. */
export function durableServer(answers: {
  readonly check?: CannedReply;
  readonly plan?: CannedReply;
  readonly apply?: CannedReply;
  readonly wait?: CannedReply;
}) {
  return ({ url }: SeenRequest): CannedReply => {
    if (url.pathname.endsWith("/wait")) return answers.wait ?? { body: ended(1) };
    const mode = url.searchParams.get("mode") as "check" | "plan" | "apply" | null;
    const fallback: CannedReply = mode === "apply" ? { status: 202, body: operation(1) } : { body: planned(1) };
    return (mode && answers[mode]) ?? fallback;
  };
}
