// SPDX-License-Identifier: Apache-2.0
/**
 * From a request to an operation's first record: plan, limits, maintenance, the intent in the audit trail, then the log. Whatever
 * refuses it here has left nothing behind but its record in the trail.
 */
import { randomBytes } from "node:crypto";
import { type Check, type Mode, type Operation, splitOptions } from "@debvisor/proto-events/durable";
import { errorEntry } from "@debvisor/proto-events/errors";
import type { AuditEmitter } from "../audit/emitter.ts";
import type { Journal, RequestContext } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { Definition, Reader } from "./definition.ts";
import type { Folded } from "./fold.ts";
import { OperationLog } from "./operation-log.ts";
import { parseDeadline, parseTry, parseWait } from "./options.ts";
import {
  checkBlastRadius,
  checkBudget,
  checkSize,
  checkTrial,
  completePlan,
  type FullPlan,
  requireChecks,
  requireDigest,
  stableJson,
} from "./planning.ts";
import { type Asked, bodyOf, resultOf } from "./records.ts";
import { plannedView } from "./view.ts";

/** Refuses what maintenance forbids. `mode` apply is an attempt, anything else a question. @throws IN_MAINTENANCE, BUS_UNAVAILABLE */
export type MaintenanceGate = (
  touches: readonly string[],
  asked: { readonly actor: string; readonly type: string; readonly mode: Mode },
) => Promise<void>;

export interface SubmitDeps {
  readonly journal: Journal;
  readonly audit: AuditEmitter;
  readonly gate: MaintenanceGate;
  readonly clock: Clock;
  readonly owner: string;
  /** Waits until the registry that plans read is not behind. @throws UNAVAILABLE */
  readonly settle: () => Promise<void>;
  readonly reader: (signal: AbortSignal) => Reader;
  /** Operations of a type that were accepted within the last hour, as far as is known here. */
  readonly acceptedLately: (type: string) => number;
  readonly existing: (id: string) => Promise<Folded | undefined>;
}

/** What became of a request: an answer without record, an operation that exists already, or a new one's log. */
export type Submitted = { readonly answer: Operation } | { readonly existing: Folded } | { readonly log: OperationLog };

/** A request taken apart. */
interface Request {
  readonly definition: Definition<never>;
  readonly own: Record<string, unknown>;
  readonly options: ReturnType<typeof splitOptions>["options"];
  readonly id: string;
  readonly context: RequestContext;
  readonly retryOf: string | null;
}

export class Submitter {
  readonly #deps: SubmitDeps;

  constructor(deps: SubmitDeps) {
    this.#deps = deps;
  }

  /** @throws the definition's errors, CHECK_FAILED, PLAN_STALE, BLAST_RADIUS_EXCEEDED, IN_MAINTENANCE, AUDIT_UNAVAILABLE */
  async submit(
    definition: Definition<never>,
    input: Record<string, unknown>,
    context: RequestContext,
    retryOf: string | null,
  ): Promise<Submitted> {
    const { own, options } = splitOptions(input);
    const id = context.operation ?? newOperationId();
    const request: Request = { definition, own, options, id, context, retryOf };
    const existing = await this.#existing(request);
    if (existing) return { existing };
    let full: FullPlan | undefined;
    try {
      parseWait(options);
      parseTry(options);
      full = await this.#plan(request);
      if (options.mode !== "apply") return await this.#answer(request, full);
      await this.#admit(request, full);
    } catch (error) {
      return await this.#refuse(request, full, error);
    }
    await this.#deps.audit.record(bodyOf(this.#asked(request, full), "intent", null));
    return await this.#create(request, full);
  }

  async #plan({ definition, own, options, context }: Request): Promise<FullPlan> {
    await this.#deps.settle();
    const draft = await definition.plan(own as never, this.#deps.reader(context.signal), options);
    return completePlan(draft, options, definition.steps);
  }

  async #answer(request: Request, planned: FullPlan): Promise<Submitted> {
    const { definition, options, context } = request;
    const plan = { ...planned.plan, checks: [...planned.plan.checks, ...(await this.#limits(request, planned))] };
    const full = { ...planned, plan };
    if (options.mode === "check") requireChecks(plan);
    const who = {
      actor: context.actor,
      user: context.user ?? null,
      source: context.source ?? null,
      requestId: context.requestId,
    };
    const refused = refusalOf(() => requireChecks(plan));
    const result = refused
      ? resultOf(refused, "refused")
      : { status: "planned" as const, code: null, exitCode: 0, message: null };
    await this.#deps.audit.record(bodyOf(this.#asked(request, full), "outcome", result));
    return { answer: plannedView(definition, plan, options, who) };
  }

  /** What would refuse it when it is applied, as checks: whoever asks beforehand wants to know of all of them. */
  async #limits(request: Request, full: FullPlan): Promise<Check[]> {
    const limits = this.#limitsOf(request, full);
    const refusals = await Promise.all(
      limits.map(async ([id, check]) => ({ id, error: await check().then(() => undefined, toDvError) })),
    );
    return refusals.flatMap(({ id, error }) => {
      if (!error) return [];
      const hint = error.details?.["hint"];
      const remedy = typeof hint === "string" ? hint : (errorEntry(error.code)?.remedy ?? null);
      return [{ id, target: null, status: "failed" as const, message: error.message, hint: remedy }];
    });
  }

  #limitsOf(
    { definition, options, context }: Request,
    full: FullPlan,
  ): readonly (readonly [string, () => Promise<void>])[] {
    const { durable } = definition.spec;
    const spent = () => this.#deps.acceptedLately(definition.type);
    const asked = { actor: context.actor, type: definition.type, mode: options.mode };
    const gated = definition.respectsMaintenance ?? true;
    return [
      ["limit.size", async () => checkSize(full)],
      ["limit.trial", async () => checkTrial(full, options.try)],
      ["limit.domain", async () => checkBlastRadius(full.plan, durable?.mostPerDomain, options.override)],
      ["limit.hour", async () => checkBudget(definition.type, spent(), durable?.mostPerHour, options.override)],
      ["maintenance", async () => (gated ? await this.#deps.gate(full.touches, asked) : undefined)],
    ];
  }

  /** Everything that may refuse it, the first that does. */
  async #admit(request: Request, full: FullPlan): Promise<void> {
    requireDigest(full.plan, request.options.plan);
    requireChecks(full.plan);
    for (const [, check] of this.#limitsOf(request, full)) await check();
  }

  /** A repeat of a request that was accepted before finds its operation, whatever would refuse it now. */
  async #refuse(request: Request, full: FullPlan | undefined, thrown: unknown): Promise<Submitted> {
    const existing = await this.#existing(request);
    if (existing) return { existing };
    const error = toDvError(thrown);
    const status = request.options.mode === "apply" ? "refused" : "failed";
    await this.#deps.audit.record(bodyOf(this.#asked(request, full), "refusal", resultOf(error, status)));
    throw thrown;
  }

  /** @throws IDEMPOTENCY_KEY_REUSED when the id belongs to another request */
  async #existing({ id, definition, own, context, options }: Request): Promise<Folded | undefined> {
    if (context.operation === undefined || options.mode !== "apply") return undefined;
    const existing = await this.#deps.existing(id);
    if (!existing) return undefined;
    const { type, input } = existing.created;
    if (type === definition.type && stableJson(input) === stableJson(own)) return existing;
    throw new DvError("IDEMPOTENCY_KEY_REUSED", `The key of this request belongs to ${id}, which is another one.`);
  }

  async #create(request: Request, full: FullPlan): Promise<Submitted> {
    const { definition, own, options, id, context, retryOf } = request;
    const { clock, journal, owner } = this.#deps;
    const deadlineMs = parseDeadline(options, definition.deadlineMs + full.waitsMs);
    try {
      const log = await OperationLog.create(
        { journal, clock },
        {
          t: "created",
          operation: id,
          type: definition.type,
          version: definition.spec.durable?.version ?? 1,
          owner,
          input: own,
          masked: definition.mask(own as never),
          options,
          plan: full.plan,
          steps: [...full.steps],
          resources: [...full.resources],
          actor: context.actor,
          user: context.user ?? null,
          source: context.source ?? null,
          requestId: context.requestId,
          traceId: context.traceId ?? null,
          deadlineMs,
          deadlineAt: new Date(clock.now() + deadlineMs).toISOString(),
          retryOf,
        },
      );
      return { log };
    } catch (error) {
      if (toDvError(error).code !== "CONFLICT") throw error;
      const existing = await this.#existing(request);
      if (!existing) throw error;
      return { existing };
    }
  }

  #asked({ definition, own, options, id, context }: Request, full: FullPlan | undefined): Asked {
    const applies = options.mode === "apply";
    return {
      ref: applies ? id : context.requestId,
      operation: applies ? id : null,
      actor: context.actor,
      user: context.user ?? null,
      source: context.source ?? null,
      action: definition.type,
      mode: options.mode,
      targets: full?.plan.targets.map(({ name }) => name) ?? [],
      args: definition.mask(own as never),
      reason: options.reason ?? null,
      override: options.override ?? null,
      planDigest: full?.plan.digest ?? null,
      requestId: context.requestId,
      traceId: context.traceId ?? null,
    };
  }
}

/** A random operation id. */
export function newOperationId(): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  return `op-${Array.from(randomBytes(13), (byte) => alphabet[byte % 32]).join("")}`;
}

/** The refusal that a check ends with; undefined when it passes. */
function refusalOf(check: () => void): DvError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return toDvError(error);
  }
}
