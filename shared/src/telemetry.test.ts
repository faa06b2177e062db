// SPDX-License-Identifier: Apache-2.0
/** W3C trace context: what is read, what is ignored, what is passed on. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatTraceparent, parseTraceparent, startTracing } from "./telemetry.ts";

const hex = (length: number) =>
  fc
    .string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length })
    .filter((text) => !/^0+$/.test(text));
const who = { service: "test", instance: "i", version: "0" };

describe("traceparent", () => {
  it("reads what it writes", () => {
    fc.assert(
      fc.property(hex(32), hex(16), fc.boolean(), (traceId, spanId, sampled) => {
        expect(parseTraceparent(formatTraceparent({ traceId, spanId, sampled }))).toEqual({ traceId, spanId, sampled });
      }),
    );
  });

  it.each([
    ["nothing", undefined],
    ["an empty text", ""],
    ["version ff", `ff-${"1".repeat(32)}-${"2".repeat(16)}-01`],
    ["more fields in version 00", `00-${"1".repeat(32)}-${"2".repeat(16)}-01-extra`],
    ["a trace id of zeros", `00-${"0".repeat(32)}-${"2".repeat(16)}-01`],
    ["a span id of zeros", `00-${"1".repeat(32)}-${"0".repeat(16)}-01`],
    ["upper case", `00-${"A".repeat(32)}-${"2".repeat(16)}-01`],
  ])("ignores %s", (_title, header) => {
    expect(parseTraceparent(header)).toBeUndefined();
  });

  it("reads the known fields of a later version", () => {
    expect(parseTraceparent(`01-${"1".repeat(32)}-${"2".repeat(16)}-01-later`)?.sampled).toBe(true);
  });

  it("never throws on any text", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseTraceparent(text)));
  });
});

describe("spans without a collector", () => {
  it("start a trace of their own when there is no parent", async () => {
    const tracing = await startTracing({ ...who, env: {} });

    const ids = new Set(Array.from({ length: 2_000 }, () => tracing.startSpan("a", "server").context.spanId));

    expect(tracing.exporting).toBe(false);
    expect(ids.size).toBe(2_000);
  });

  it("continue the caller's trace under a new span id", async () => {
    const tracing = await startTracing({
      ...who,
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_TRACES_EXPORTER: "none" },
    });
    const parent = `00-${"1".repeat(32)}-${"2".repeat(16)}-01`;

    const span = tracing.startSpan("a", "server", parent);

    expect(span.context).toMatchObject({ traceId: "1".repeat(32), sampled: true });
    expect(span.context.spanId).not.toBe("2".repeat(16));
    expect(parseTraceparent(span.traceparent)).toEqual(span.context);
  });
});

describe("spans with a collector", () => {
  it("reach it over OTLP/HTTP", async () => {
    const paths: string[] = [];
    const collector = createServer((request, response) => {
      paths.push(request.url ?? "");
      request.resume().on("end", () => response.end());
    });
    await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
    const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint;

    try {
      const tracing = await startTracing({ ...who, env: { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint } });
      const span = tracing.startSpan("GET /v1/nodes", "server", `00-${"1".repeat(32)}-${"2".repeat(16)}-01`);
      span.end({ "http.response.status_code": 200 });
      await tracing.stop();

      expect(span.context.traceId).toBe("1".repeat(32));
      expect(paths).toContain("/v1/traces");
    } finally {
      delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
      collector.close();
    }
  }, 20_000);
});
