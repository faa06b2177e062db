// SPDX-License-Identifier: Apache-2.0
/** Which context wins, and where a token goes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { resolveContext } from "./context.ts";
import { loadSettings } from "./settings.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-context-"));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, servers: readonly string[], token = name): string {
  const file = join(folder, name);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, JSON.stringify({ version: 1, cluster: name, servers, token }));
  return file;
}

const here = write(".debvisor/context.json", ["http://127.0.0.1:8420"]);
const other = write("other.json", ["http://10.0.0.1:8420", "http://10.0.0.2:8420"]);
const third = write("third.json", ["http://10.0.0.3:8420"]);

function resolveWith(flags: Record<string, unknown>, env: Record<string, string> = {}, cwd = folder) {
  return resolveContext(loadSettings(flags, { HOME: folder, ...env }), env, cwd);
}

describe("the context", () => {
  it("is the one in this folder when nothing else was said", () => {
    expect(resolveWith({}).file).toBe(here);
  });

  it("follows DV_CONTEXT before the one in this folder, and --context before both", () => {
    expect(resolveWith({}, { DV_CONTEXT: other })).toMatchObject({
      file: other,
      servers: ["http://10.0.0.1:8420", "http://10.0.0.2:8420"],
    });
    expect(resolveWith({ context: third }, { DV_CONTEXT: other }).file).toBe(third);
  });

  it("takes DV_TOKEN before the token of the file", () => {
    expect(resolveWith({}, { DV_TOKEN: "mine" })).toMatchObject({
      token: "mine",
      origin: { token: "environment DV_TOKEN" },
    });
  });

  it("gives no token to a server that its file does not name", () => {
    expect(resolveWith({ server: "http://192.0.2.1:8420" })).toMatchObject({
      servers: ["http://192.0.2.1:8420"],
      token: undefined,
    });
    expect(resolveWith({ server: "http://localhost:8420/" })).toMatchObject({ token: ".debvisor/context.json" });
    expect(resolveWith({ server: "192.0.2.1:8420" }, { DV_TOKEN: "mine" })).toMatchObject({
      servers: ["http://192.0.2.1:8420"],
      token: "mine",
    });
    expect(resolveWith({ server: "http://192.0.2.1:8420", context: other })).toMatchObject({ token: "other.json" });
  });

  it.each([
    ["a file that does not exist", { context: "nope.json" }, "CONTEXT_MISSING"],
    ["a folder without context", {}, "CONTEXT_MISSING"],
    ["a server that is no URL", { server: "ftp://x" }, "INVALID_ARGUMENT"],
  ])("refuses %s", (_, flags, code) => {
    expect(() => resolveWith(flags, {}, "/")).toThrowError(expect.objectContaining({ code }));
  });

  it("names a file that cannot be read as one", () => {
    const broken = join(folder, "broken.json");
    writeFileSync(broken, "{");

    expect(() => resolveWith({ context: broken })).toThrowError(
      expect.objectContaining({ code: "CONFIG_INVALID", message: expect.stringContaining(broken) }),
    );
  });
});
