// SPDX-License-Identifier: Apache-2.0
/** Precedence, origins and refusals of the configuration. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { environmentName, loadConfig } from "./config.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const Schema = z.strictObject({
  port: z.number().int().default(8420),
  name: z.string().default("x"),
  listen: z.strictObject({ host: z.string().default("127.0.0.1"), tls: z.boolean().default(false) }).prefault({}),
  tags: z.array(z.string()).default([]),
  limits: z.record(z.string(), z.number()).default({}),
  secretFile: z.string().optional(),
});

function load(yaml: string, env: Record<string, string> = {}, flags: Record<string, unknown> = {}) {
  const file = join(folder, "node-agent.yaml");
  writeFileSync(file, yaml);
  return loadConfig(Schema, { service: "node-agent", files: [join(folder, "absent.yaml"), file], env, flags });
}

describe("a configuration", () => {
  it("takes defaults, then file, then environment, then flags, and says where each value came from", () => {
    const yaml = "# comment\nname: file\nport: 1\nlisten:\n  tls: true\n";
    const env = {
      DV_NODE_AGENT_PORT: "2",
      DV_NODE_AGENT_LISTEN__HOST: "::1",
      DV_NODE_AGENT_TAGS: "a, b",
      DV_NODE_AGENT_NAME: "",
    };

    const { values, origin } = load(yaml, env, { port: 3, name: undefined });

    expect(values).toEqual({ port: 3, name: "file", listen: { host: "::1", tls: true }, tags: ["a", "b"], limits: {} });
    expect(origin).toEqual({
      port: "flag --port",
      name: `file ${folder}/node-agent.yaml:2`,
      "listen.host": "environment DV_NODE_AGENT_LISTEN__HOST",
      "listen.tls": `file ${folder}/node-agent.yaml:5`,
      tags: "environment DV_NODE_AGENT_TAGS",
      limits: "default",
      secretFile: "default",
    });
  });

  it("is frozen to the last level", () => {
    const { values } = load("limits: {a: 1}\n");

    expect(() => Object.assign(values.listen, { host: "x" })).toThrow(TypeError);
    expect(() => Object.assign(values.limits, { a: 2 })).toThrow(TypeError);
  });

  it("reads an empty file as nothing", () => {
    expect(load("# nothing\n").values.port).toBe(8420);
  });

  it("names its environment variables after the keys", () => {
    expect(environmentName("node-agent", ["listen", "secretFile"])).toBe("DV_NODE_AGENT_LISTEN__SECRET_FILE");
  });

  it.each([
    ["an unknown key", "name: a\nprot: 1\n", {}, "node-agent.yaml:2: prot"],
    ["an unknown key inside", "listen:\n  host: a\n  tsl: true\n", {}, "node-agent.yaml:3: listen.tsl"],
    ["a wrong value in the file", "port: abc\n", {}, "node-agent.yaml:1: port"],
    ["a wrong value in the environment", "", { DV_NODE_AGENT_PORT: "abc" }, "environment DV_NODE_AGENT_PORT: port"],
    ["an element of a list", "tags: [1]\n", {}, "node-agent.yaml:1: tags.0"],
    ["a file that is not YAML", "name: [\n", {}, "node-agent.yaml:2"],
    ["the same key twice", "port: 1\nport: 2\n", {}, "node-agent.yaml:2"],
    ["a list at the top", "- a\n", {}, "node-agent.yaml:1"],
    ["a prototype in the file", "__proto__: {port: 1}\n", {}, "unknown key"],
  ])("refuses %s and says where", (_, yaml, env, text) => {
    expect(() => load(yaml, env)).toThrowError(
      expect.objectContaining({ code: "CONFIG_INVALID", message: expect.stringContaining(text) }),
    );
  });
});
