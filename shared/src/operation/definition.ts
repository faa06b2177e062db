// SPDX-License-Identifier: Apache-2.0
/**
 * What a service's author writes for a durable operation: how to plan it, and its steps. Everything else (log, locks, resumption,
 * undo, cancel, progress, audit, maintenance, limits) is the engine's. A plan is data that names step kinds, so that any
 * instance that knows the definition's version can go on where another one died.
 */

import type { Node } from "@debvisor/proto-events/discovery";
import type { Check, OperationOptions, PlannedEffect, PlannedTarget } from "@debvisor/proto-events/durable";
import type { Contract, OperationSpec, Output, Request } from "@debvisor/proto-events/kit";
import type { CallOptions, Order } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import type { Logger } from "../log.ts";

/** A node as the registry has it. */
export type TargetNode = Pick<Node, "id" | "name" | "state" | "roles" | "zone" | "rack" | "version">;

/** What planning and inspecting may do: read. Anything that is no read is refused before it is sent. */
export interface Reader {
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Calls an operation of effect `read`. Target is a node id or `core`. @throws INTERNAL for any other effect */
  request<const C extends Contract, K extends keyof C["operations"] & string>(
    target: string,
    contract: C,
    operation: K,
    input: Request<C, K>,
    options?: Pick<CallOptions, "timeoutMs">,
  ): Promise<Output<C, K>>;
  /** The nodes of the registry, deleted ones left out, by name. */
  nodes(): readonly TargetNode[];
  /** One node by id or name. @throws NODE_NOT_FOUND */
  node(ref: string): TargetNode;
}

/** Who asked for the operation, and how. */
export interface Submission {
  readonly id: string;
  readonly actor: string;
  readonly user: string | null;
  readonly reason: string | null;
  readonly options: OperationOptions;
  /** The operation's own input. */
  readonly input: Readonly<Record<string, unknown>>;
  /** RFC 3339 time at which it was accepted. */
  readonly createdAt: string;
}

/** What a step may do. */
export interface StepContext extends Reader {
  readonly submission: Submission;
  /** The node that the step is about. */
  readonly target: TargetNode | undefined;
  /** Operation, step, direction, epoch and fence of what runs now. */
  readonly order: Order;
  /** What `do` answered, when it is known; for `undo` and `inspect`. */
  readonly done: unknown;
  /** Sends the step's order to its target node. @throws the operation's errors, COMMAND_REFUSED, COMMAND_FENCED */
  command<const C extends Contract, K extends keyof C["operations"] & string>(
    contract: C,
    operation: K,
    input: Request<C, K>,
    options?: Pick<CallOptions, "timeoutMs">,
  ): Promise<Output<C, K>>;
}

/** How a step stands when one looks: as before it, as after it, or neither can be told. */
export type Sight = "before" | "after" | "unclear";

/**
 * A kind of step. `do` and `undo` may be called more than once, by different instances, after a crash in between: each must
 * leave the same state when repeated. `undo` is also called for a step that may have run.
 */
export interface StepKind<P = never> {
  /** Longest time of one attempt in milliseconds. */
  readonly timeoutMs: number | ((params: P) => number);
  /** Longest time of all attempts, while the target does not answer, in milliseconds. Default: 3 × timeoutMs. */
  readonly patienceMs?: number;
  do(params: P, context: StepContext): Promise<unknown>;
  /** "never" where nothing can be undone (a restart); then nothing is called and rollback leaves the step as it is. */
  readonly undo: ((params: P, context: StepContext) => Promise<unknown>) | "never";
  /**
   * With `undo: "never"`: once it may have run, the steps before it stay as well, because undoing them alone would leave what
   * nobody wants. Repeating the operation finishes it.
   */
  readonly seals?: boolean;
  /** Looks at the real thing. Verification wants `after` when done and `before` when undone. */
  inspect(params: P, context: StepContext): Promise<Sight>;
}

/** A step of a plan. */
export interface PlannedStep {
  /** Unique in the plan; a token: lower-case letters, digits, dashes. */
  readonly id: string;
  /** Key of the definition's `steps`. */
  readonly kind: string;
  readonly title: string;
  /** Node id, or null for a step of the cluster as a whole. Steps of one node run in order; nodes run beside each other. */
  readonly target: string | null;
  /** What is needed to run it; JSON. */
  readonly params: unknown;
  /** The lock whose fence goes with its orders; one of the plan's resources. */
  readonly resource: string | null;
}

/** A step as the log keeps it: whoever does not know its kind can tell whether it can be undone. */
export interface LoggedStep extends PlannedStep {
  readonly undoable: boolean;
  readonly seals: boolean;
}

/** A plan as its author makes it; the engine adds digests and what follows from the options. */
export interface Draft {
  readonly targets: readonly PlannedTarget[];
  readonly steps: readonly PlannedStep[];
  readonly effects: readonly PlannedEffect[];
  readonly checks: readonly Check[];
  /** Locks that it needs. */
  readonly resources: readonly string[];
  /** Ids of nodes and `cluster` whose maintenance it must respect. Default: the targets. */
  readonly touches?: readonly string[];
  /** Milliseconds that its steps wait on purpose; the definition's deadline is so much later. Default: 0. */
  readonly waitsMs?: number;
  /** How it can be undone, in one sentence. */
  readonly undo: string;
  /** Everything that was read and that the plan rests on; JSON. The digest is made of it and of the steps. */
  readonly basis: unknown;
}

/** A durable operation. `I` is its input without the engine's options. */
export interface Definition<I = never> {
  /** `<service>.<wire name>`. */
  readonly type: string;
  readonly spec: OperationSpec;
  /** Time after which it is stopped and undone, in milliseconds, unless the request says otherwise. */
  readonly deadlineMs: number;
  /** Most targets that are worked on at a time, whatever the request says. */
  readonly mostAtOnce?: number;
  /** Whether maintenance of a target refuses it. Default true; false for what ends maintenance. */
  readonly respectsMaintenance?: boolean;
  /** The input as the audit trail may show it: secrets and contents replaced. */
  mask(input: I): Record<string, unknown>;
  /** Checks prerequisites and makes the plan. Changes nothing. @throws the operation's errors */
  plan(input: I, reader: Reader, options: OperationOptions): Promise<Draft>;
  readonly steps: Readonly<Record<string, StepKind<never>>>;
  /** What to tell at the end, from what the steps answered. Default: null. */
  result?(answers: Readonly<Record<string, unknown>>): unknown;
}
