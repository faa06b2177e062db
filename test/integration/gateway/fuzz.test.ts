// SPDX-License-Identifier: Apache-2.0
/** Random requests to every route: no crash, no status 500, and every refusal is a problem document. */
import { allOperations } from "@debvisor/proto-events/registry";
import { Problem } from "@debvisor/proto-events/replies";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig } from "./rig.ts";
import { startAuditor, startEngine, startNames } from "./stand-ins.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;

beforeAll(async () => {
  await startPeers(cluster(), ["node-1", "node-2"]);
  await startEngine(cluster());
  await startAuditor(cluster());
  await startNames(cluster());
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());

const RUNS = Number(process.env["DV_FUZZ_RUNS"] ?? 40);
const text = fc.oneof(
  fc.string({ maxLength: 30 }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom("", "all", "*", "..", "../etc", "node-1", "%00", "__proto__", "null", "-1", "1e999"),
);
const value = fc.oneof(
  { depthSize: "small" },
  text,
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.array(text, { maxLength: 3 }),
  fc.dictionary(text, text, { maxKeys: 3 }),
);

const routes = allOperations().flatMap((operation) =>
  operation.spec.http
    ? [[`${operation.spec.http.method} ${operation.spec.http.path}`, operation, operation.spec.http] as const]
    : [],
);

/** One request; GET and DELETE carry the fields in the query, the others in the body. */
function send(
  http: { method: string; path: string },
  segment: string,
  fields: Record<string, unknown>,
): ReturnType<typeof ask> {
  const path = http.path.replace(/\{[^}]+\}/g, () => encodeURIComponent(segment.toWellFormed()) || "x");
  const asText = (each: unknown) => (typeof each === "string" ? each : (JSON.stringify(each) ?? ""));
  const query = new URLSearchParams(Object.entries(fields).map(([name, each]) => [name, asText(each)]));
  const { "content-type": contentType, ...key } = keyed();
  if (http.method === "GET") return ask(rig, `${path}?${query}`);
  if (http.method === "DELETE") return ask(rig, `${path}?${query}`, { method: "DELETE", headers: key });
  const headers = { ...key, "content-type": contentType ?? "" };
  return ask(rig, path, { method: http.method, headers, body: JSON.stringify(fields) });
}

describe("any request", () => {
  it.each(routes)("to %s is answered or refused in form", async (_title, { spec }, http) => {
    const known = [...Object.keys(spec.input.shape), "nodes", "mode"];
    const fields = fc.dictionary(
      fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...known) }, { weight: 1, arbitrary: text }),
      value,
      { maxKeys: 5 },
    );
    await fc.assert(
      fc.asyncProperty(fields, text, async (random, segment) => {
        const reply = await send(http, segment, random);

        expect(reply.status).not.toBe(500);
        if (reply.status >= 400) expect(Problem.safeParse(reply.body).success).toBe(true);
      }),
      { numRuns: RUNS },
    );
  });

  it("to the event stream is answered or refused in form", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom("filter", "node", "since", "tail", "telemetry", "x"), text, {
          minKeys: 1,
          maxKeys: 4,
        }),
        async (query) => {
          const abort = new AbortController();
          const response = await fetch(`${rig.url}/v1/events?${new URLSearchParams(query)}`, {
            headers: { authorization: rig.keys.viewer.bearer, accept: "text/event-stream" },
            signal: abort.signal,
          });
          if (response.status !== 200) expect(Problem.safeParse(await response.json()).success).toBe(true);
          expect(response.status).not.toBe(500);
          abort.abort();
        },
      ),
      { numRuns: RUNS },
    );
  });
});
