// SPDX-License-Identifier: Apache-2.0
/**
 * Golden samples: what a published version sends must be read by every later one (STYLE.md B4, Versioning). A sample is
 * never edited once its version is released; a test that fails here means that the contract broke its readers.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { TelemetrySpec } from "./kit.ts";
import { allEvents, allOperations, CONTRACTS } from "./registry.ts";
import { EventEnvelope } from "./replies.ts";

const FOLDER = new URL("../golden/", import.meta.url);
const events = allEvents();
const operations = new Map(allOperations().map(({ service, wire, spec }) => [`${service}.${wire}`, spec]));
const telemetry = new Map<string, TelemetrySpec>(
  CONTRACTS.flatMap(({ service, telemetry: declared = {} }) =>
    Object.entries(declared).map(([what, spec]) => [`${service}.${what}`, spec] as const),
  ),
);

/** Names of the samples in a folder, without `.json`. */
function samples(folder: string): string[] {
  const entries = readdirSync(new URL(folder, FOLDER), { withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name.replace(/\.json$/, ""));
}

function read(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(new URL(`${path}.json`, FOLDER), "utf8")) as Record<string, unknown>;
}

describe("every event", () => {
  test("has a sample of its present version", () => {
    const wanted = [...events].map(([type, { version }]) => `${type}.v${version}`);

    expect(wanted.filter((name) => !samples("./").includes(name))).toEqual([]);
  });

  test.each(samples("./"))("can read the sample %s", (name) => {
    const [, type = "", version] = /^(.+)\.v(\d+)$/.exec(name) ?? [];
    const sample = read(name);

    const envelope = EventEnvelope.parse(sample);

    // Nothing that was sent gets lost on the way in.
    expect(envelope).toEqual(sample);
    expect(envelope).toMatchObject({ type, dataversion: Number(version) });
    expect(events.get(type)?.payload.parse(envelope.data)).toEqual(envelope.data);
  });
});

describe("all telemetry", () => {
  test("has a sample", () => {
    expect(samples("./telemetry/").sort()).toEqual([...telemetry.keys()].sort());
  });

  test.each(samples("./telemetry/"))("can read the sample %s", (name) => {
    const sample = read(`telemetry/${name}`);

    expect(telemetry.get(name)?.payload.parse(sample)).toEqual(sample);
  });
});

describe("every operation", () => {
  test("has a sample of its input", () => {
    expect(samples("./requests/").sort()).toEqual([...operations.keys()].sort());
  });

  test.each(samples("./requests/"))("accepts the sample %s", (name) => {
    const sample = read(`requests/${name}`);

    expect(operations.get(name)?.input.parse(sample)).toMatchObject(sample);
  });
});
