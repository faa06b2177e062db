// SPDX-License-Identifier: Apache-2.0
/**
 * The contract kit: `operation`, `event`, `telemetry` and `contract`. One declaration yields subject, validation, handler
 * type, typed client, HTTP route, OpenAPI, permission, CLI command, NATS permissions and reference page.
 *
 * Changing a published contract: only additions (optional request fields, reply fields, events, codes). Requests are
 * `z.strictObject`, so services are upgraded before gateway and CLIs. For a changed meaning: (1) add an operation or event
 * under a new name, (2) keep the old one for two releases, marked in its summary, (3) keep its golden sample until then.
 */
import type { z } from "zod";
import type { ErrorCode } from "./errors.ts";

/** What an operation does to the world. */
export type Effect = "read" | "change" | "destroy";

/** `core`: any instance of the core part answers. `node`: the named node answers; over HTTP it is a fan-out. */
export type Scope = "core" | "node";

/** Least role whose tokens hold the operation's permission. */
export type Role = "viewer" | "operator" | "admin";

/** A column of a command's table: heading and the path of the value in a row, such as `metrics.load1`. */
export interface Column {
  readonly heading: string;
  readonly value: string;
  /** How the number is written. Without it the value is printed as it is. */
  readonly as?: "bytes" | "percent" | "age" | "list" | "duration" | "fixed2";
}

/** How an operation appears on the command line. Flags come from the input schema. */
export interface CliSpec {
  /** Plural noun (`nodes`); the singular is accepted as an alias. A noun without verb is a command of its own. */
  readonly noun: string;
  /** One word, or two (`service restart`). */
  readonly verb?: string;
  /** Input fields that are given as positional words, in this order. */
  readonly args?: readonly string[];
  /** Columns of the table, and where the rows are (`items`, `results`; default: the reply is one row). */
  readonly columns?: readonly Column[];
  readonly rows?: string;
  /** Commands that work as typed on the local cluster, each with what it is good for. The first is the simplest. */
  readonly examples: readonly { readonly command: string; readonly does: string }[];
  readonly preconditions?: string;
  /** Required unless the effect is `read`. */
  readonly changes?: string;
  readonly undo?: string;
  readonly recovery?: string;
  /** Situations beyond the examples: what somebody wants, and the command for it. */
  readonly scenarios?: readonly { readonly command: string; readonly does: string }[];
  /** Makes an answer that arrived a failed (exit code 6) or warned check by one of its values, such as `data.verdict`. */
  readonly verdict?: { readonly value: string; readonly failed: readonly string[]; readonly warned: readonly string[] };
  /** A second table: the findings of every target, without those whose `hide.value` is among `hide.in`. */
  readonly findings?: {
    readonly rows: string;
    readonly columns: readonly Column[];
    readonly hide: { readonly value: string; readonly in: readonly string[] };
  };
}

/** What makes an operation durable: run by the engine of `shared/operation`, with plan, log, undo and audit (DESIGN.md 6). */
export interface DurableSpec {
  /** Version of the definition. An instance that does not know an operation's version leaves it to one that does. */
  readonly version: number;
  /** Input field that selects nodes, when it touches nodes. */
  readonly targets: string | null;
  /** Most targets that one operation may touch in each failure domain (zone; nodes without one share a domain). */
  readonly mostPerDomain?: number;
  /** Most operations of this kind that are accepted within an hour, whoever asks. */
  readonly mostPerHour?: number;
  /** Whether commands ask on a terminal although one target is touched. Without a terminal such a command runs as typed. */
  readonly asks?: boolean;
}

/** The declaration of an operation (STYLE.md B4). */
export interface OperationSpec<
  I extends z.ZodObject = z.ZodObject,
  O extends z.ZodType = z.ZodType,
  S extends Scope = Scope,
> {
  readonly summary: string;
  readonly scope: S;
  readonly effect: Effect;
  readonly idempotent: boolean;
  /** Longest time in milliseconds until an answer. */
  readonly timeoutMs: number;
  /** `<service>:<entity>:<verb>`. */
  readonly permission: string;
  /** Default: `viewer` for reads, `operator` for changes, `admin` for destroying. */
  readonly role?: Role;
  readonly input: I;
  readonly output: O;
  readonly errors: readonly ErrorCode[];
  readonly http: { readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE"; readonly path: string } | null;
  readonly cli: CliSpec | null;
  /** Present on durable operations; `durable()` declares them. */
  readonly durable?: DurableSpec;
}

/** The declaration of an event. The key in the contract is `<entity>.<fact>`. */
export interface EventSpec<P extends z.ZodType = z.ZodType> {
  readonly summary: string;
  /** Version of the payload; raised only for an addition that readers may want to know about. */
  readonly version: number;
  readonly payload: P;
}

/** The declaration of a live measurement: published plainly, kept in no stream. */
export interface TelemetrySpec<P extends z.ZodType = z.ZodType> {
  readonly summary: string;
  readonly payload: P;
}

/** What a service's core part needs of the bus beyond answering its own operations; NATS permissions come from it. */
export interface Uses {
  /** Services whose operations it calls; `*` for all (the gateway). */
  readonly calls?: readonly string[];
  readonly bucketsRead?: readonly string[];
  readonly bucketsWrite?: readonly string[];
  readonly streamsRead?: readonly string[];
  /** Streams whose state alone it asks for, to know whether they take writes. */
  readonly streamsWatched?: readonly string[];
  /** Streams that it appends to by compare-and-set. */
  readonly streamsWrite?: readonly string[];
  /** Services whose node part it gives orders: signed commands and plain reads. Nodes check this right themselves (RULES.md 11). */
  readonly commands?: readonly string[];
  /** Events of contracts that others implement which it publishes as well, such as `maintenance.change.blocked`. */
  readonly events?: readonly string[];
  readonly telemetry?: boolean;
  /** May ask for the list of services and their statistics (`$SRV`). */
  readonly census?: boolean;
}

/** Everything one service offers. */
export interface Contract {
  readonly service: string;
  readonly summary: string;
  /** The service that implements it, where that is not the one of the same name. */
  readonly implementedBy?: string;
  readonly uses?: Uses;
  readonly operations: Readonly<Record<string, OperationSpec>>;
  readonly events: Readonly<Record<string, EventSpec>>;
  readonly telemetry?: Readonly<Record<string, TelemetrySpec>>;
}

/** Declares an operation; only fixes the types. The scope stays a literal, or `Handlers` could not tell which ones it asks for. */
export function operation<S extends Scope, I extends z.ZodObject, O extends z.ZodType>(
  spec: OperationSpec<I, O> & { readonly scope: S },
): OperationSpec<I, O> & { readonly scope: S } {
  return spec;
}

/** Declares an event; only fixes the types. */
export function event<P extends z.ZodType>(spec: EventSpec<P>): EventSpec<P> {
  return spec;
}

/** Declares a telemetry message; only fixes the types. */
export function telemetry<P extends z.ZodType>(spec: TelemetrySpec<P>): TelemetrySpec<P> {
  return spec;
}

/** Declares a contract; only fixes the types. */
export function contract<const C extends Contract>(spec: C): C {
  return spec;
}

/** Validated input of operation K of contract C, as a handler receives it. */
export type Input<C extends Contract, K extends keyof C["operations"]> = z.output<C["operations"][K]["input"]>;
/** Input as a caller writes it (defaults may be left out). */
export type Request<C extends Contract, K extends keyof C["operations"]> = z.input<C["operations"][K]["input"]>;
/** Output of operation K of contract C. */
export type Output<C extends Contract, K extends keyof C["operations"]> = z.output<C["operations"][K]["output"]>;
/** Payload of event K of contract C. */
export type Payload<C extends Contract, K extends keyof C["events"]> = z.output<C["events"][K]["payload"]>;

/** Names of the operations of a scope. */
export type OperationsOf<C extends Contract, S extends Scope> = {
  [K in keyof C["operations"]]: C["operations"][K]["scope"] extends S ? K : never;
}[keyof C["operations"]];

/** One handler per operation of a scope; a missing or wrongly typed one does not compile. */
export type Handlers<C extends Contract, S extends Scope, Ctx> = {
  readonly [K in OperationsOf<C, S>]: (input: Input<C, K>, ctx: Ctx) => Promise<Output<C, K>> | Output<C, K>;
};

/** `listNodes` → `list-nodes`: the spelling of an operation on the wire. */
export function wireName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The role that an operation needs at least. */
export function roleOf(spec: Pick<OperationSpec, "effect" | "role">): Role {
  return spec.role ?? ({ read: "viewer", change: "operator", destroy: "admin" } as const)[spec.effect];
}
