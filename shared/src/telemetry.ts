// SPDX-License-Identifier: Apache-2.0
/**
 * Traces in the W3C form. A span here is two ids and a name; it becomes an OpenTelemetry span only where somebody collects
 * them (OTEL_EXPORTER_OTLP_ENDPOINT), and then the SDK is loaded.
 *
 * Without a collector no SDK is loaded: @opentelemetry/sdk-trace as a provider that drops every span was tried for valid
 * ids, and costs memory in each process and several microseconds a request for a result that sixteen random bytes give.
 * Parents are passed as arguments: an async_hooks context would be paid for by every await of the process.
 */
import { randomFillSync } from "node:crypto";
import { type Environment, readEnv } from "./config.ts";

/** Identity of a span as it travels between processes. */
export interface TraceContext {
  /** 32 hexadecimal digits, not all zero. */
  readonly traceId: string;
  /** 16 hexadecimal digits, not all zero. */
  readonly spanId: string;
  /** Whether somebody records this trace. */
  readonly sampled: boolean;
}

/** What a span stands for, seen from this process. */
export type SpanKind = "server" | "client" | "internal";

/** Values that describe a span. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** A span under way. */
export interface Span {
  readonly context: TraceContext;
  /** The `traceparent` header for whatever is called on behalf of this span. */
  readonly traceparent: string;
  /** Ends the span; with a code it counts as failed. Calls after the first do nothing. */
  end(attributes?: SpanAttributes, errorCode?: string): void;
}

/** Makes spans. */
export interface Tracing {
  /** Whether spans leave this process. */
  readonly exporting: boolean;
  /** Starts a span under the given `traceparent` header; without a valid one it starts a trace. */
  startSpan(name: string, kind: SpanKind, parent?: string): Span;
  /** Sends what is left to the collector. */
  stop(): Promise<void>;
}

/** Who makes the spans. */
export interface TracingOptions {
  readonly service: string;
  readonly instance: string;
  readonly version: string;
  /** Default: the process's environment. */
  readonly env?: Environment;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const NO_TRACE = "0".repeat(32);
const NO_SPAN = "0".repeat(16);

/**
 * Reads a `traceparent` header (W3C Trace Context §3.2); undefined when it must be ignored. A version above 00 may carry
 * more fields after the flags; version 00 may not, and ff is no version.
 */
export function parseTraceparent(header: string | undefined): TraceContext | undefined {
  if (header === undefined || header.length < 55) return undefined;
  const [, version, traceId, spanId, flags, rest] = TRACEPARENT.exec(header) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  if (version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (traceId === NO_TRACE || spanId === NO_SPAN) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** Writes a `traceparent` header of version 00. */
export function formatTraceparent(context: TraceContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.sampled ? "01" : "00"}`;
}

/** Starts tracing: with export where a collector is configured, otherwise with ids only. */
export async function startTracing(options: TracingOptions): Promise<Tracing> {
  const env = options.env ?? readEnv();
  const endpoint = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] ?? env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  // With OTEL_TRACES_EXPORTER=none the SDK hands out spans whose ids are all zero, so it is not asked at all.
  const wanted = endpoint && env["OTEL_TRACES_EXPORTER"] !== "none" && env["OTEL_SDK_DISABLED"] !== "true";
  return wanted ? await startExport(options) : idsOnly;
}

/* Random ids are cut from a block: one call of the generator for 256 spans instead of one or two for each. */
const POOL_BYTES = 4_096;
const pool = Buffer.alloc(POOL_BYTES);
let poolAt = POOL_BYTES;

function randomHex(bytes: 8 | 16): string {
  if (poolAt + bytes > POOL_BYTES) {
    randomFillSync(pool);
    poolAt = 0;
  }
  const id = pool.toString("hex", poolAt, poolAt + bytes);
  poolAt += bytes;
  return id === NO_TRACE || id === NO_SPAN ? randomHex(bytes) : id;
}

class BareSpan implements Span {
  readonly traceparent: string;

  constructor(traceparent: string) {
    this.traceparent = traceparent;
  }

  get context(): TraceContext {
    return {
      traceId: this.traceparent.slice(3, 35),
      spanId: this.traceparent.slice(36, 52),
      sampled: this.traceparent.endsWith("01"),
    };
  }

  end(): void {
    // Nobody collects it.
  }
}

const idsOnly: Tracing = {
  exporting: false,
  startSpan: (_name, _kind, parent) => {
    const above = parent === undefined ? undefined : parseTraceparent(parent);
    if (!above) return new BareSpan(`00-${randomHex(16)}-${randomHex(8)}-00`);
    return new BareSpan(`00-${above.traceId}-${randomHex(8)}-${above.sampled ? "01" : "00"}`);
  },
  stop: () => Promise.resolve(),
};

async function startExport(options: TracingOptions): Promise<Tracing> {
  const [api, { NodeSDK }] = await Promise.all([import("@opentelemetry/api"), import("@opentelemetry/sdk-node")]);
  // Exporter, protocol, endpoint and sampler come from the OTEL_* variables. Logs and metrics have their own ways out.
  const sdk = new NodeSDK({
    serviceName: `debvisor-${options.service}`,
    autoDetectResources: false,
    metricReaders: [],
    logRecordProcessors: [],
  });
  sdk.start();
  const tracer = api.trace.getTracer("debvisor", options.version);
  const kinds = { server: api.SpanKind.SERVER, client: api.SpanKind.CLIENT, internal: api.SpanKind.INTERNAL } as const;
  const startSpan = (name: string, kind: SpanKind, parent?: string): Span => {
    const above = parseTraceparent(parent);
    const context = above
      ? api.trace.setSpanContext(api.ROOT_CONTEXT, {
          traceId: above.traceId,
          spanId: above.spanId,
          traceFlags: above.sampled ? 1 : 0,
          isRemote: true,
        })
      : api.ROOT_CONTEXT;
    const span = tracer.startSpan(
      name,
      { kind: kinds[kind], attributes: { "service.instance.id": options.instance } },
      context,
    );
    return new ExportedSpan(span, api.SpanStatusCode.ERROR);
  };
  return { exporting: true, startSpan, stop: () => sdk.shutdown() };
}

class ExportedSpan implements Span {
  readonly context: TraceContext;
  readonly traceparent: string;
  readonly #span: import("@opentelemetry/api").Span;
  readonly #errorStatus: number;

  constructor(span: import("@opentelemetry/api").Span, errorStatus: number) {
    const { traceId, spanId, traceFlags } = span.spanContext();
    this.context = { traceId, spanId, sampled: (traceFlags & 1) === 1 };
    this.traceparent = formatTraceparent(this.context);
    this.#span = span;
    this.#errorStatus = errorStatus;
  }

  end(attributes?: SpanAttributes, errorCode?: string): void {
    if (!this.#span.isRecording()) return;
    if (attributes) this.#span.setAttributes({ ...attributes });
    if (errorCode !== undefined) this.#span.setStatus({ code: this.#errorStatus, message: errorCode });
    this.#span.end();
  }
}
