// SPDX-License-Identifier: Apache-2.0
/** Streams, formats and tables of commands. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { createOutput, type Format, openLogFile, printable, wantsColor } from "./output.ts";
import { formatCell, renderRecord, renderTable, valueAt } from "./table.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-output-"));
afterAll(() => rmSync(folder, { recursive: true }));
const style = { color: false, nowMs: Date.parse("2026-01-01T00:01:00Z") };

function capture(format: Format, options: object = {}) {
  const written = { out: "", err: "" };
  const output = createOutput({
    stdout: { write: (text) => (written.out += text) },
    stderr: { write: (text) => (written.err += text) },
    format,
    ...options,
  });
  return { output, written };
}

describe("output", () => {
  it("keeps data and messages apart, with prefix and time", () => {
    const { output, written } = capture("table");

    output.info("one\u001b[31m");
    output.debug("hidden");
    output.result({ a: 1 }, () => "table");

    expect(written.out).toBe("table\n");
    expect(written.err).toMatch(/^\[INFO\] \d{4}-\d\d-\d\dT[\d:.]+Z one\uFFFD\[31m\n$/);
  });

  it("indents JSON for a terminal only", () => {
    const raw = '{"a":1}';
    const terminal = capture("json", { terminal: true });
    const pipe = capture("json");

    terminal.output.result({ a: 1 }, () => "", raw);
    pipe.output.result({ a: 1 }, () => "", raw);

    expect(terminal.written.out).toBe('{\n  "a": 1\n}\n');
    expect(pipe.written.out).toBe(`${raw}\n`);
  });

  it.each([
    [{ terminal: true, noColor: false, env: {} }, true],
    [{ terminal: false, noColor: false, env: {} }, false],
    [{ terminal: true, noColor: true, env: {} }, false],
    [{ terminal: true, noColor: false, env: { NO_COLOR: "1" } }, false],
    [{ terminal: true, noColor: false, env: { NO_COLOR: "" } }, true],
    [{ terminal: true, noColor: false, env: { TERM: "dumb" } }, false],
  ])("colours with %j: %s", (options, wanted) => {
    expect(wantsColor(options)).toBe(wanted);
  });

  it("appends to a log file that owner and group may read, and keeps the mode of one that was there", () => {
    const fresh = join(folder, "a/b/fresh.log");
    const old = join(folder, "old.log");
    writeFileSync(old, "before\n");
    chmodSync(old, 0o600);

    for (const path of [fresh, fresh, old]) {
      const log = openLogFile(path, (text) => text.replace("secret", "[masked]"));
      log.append("a secret");
      log.close();
    }

    expect(readFileSync(fresh, "utf8")).toBe("a [masked]\na [masked]\n");
    expect(statSync(fresh).mode & 0o777).toBe(0o640);
    expect(readFileSync(old, "utf8")).toBe("before\na [masked]\n");
    expect(statSync(old).mode & 0o777).toBe(0o600);
  });

  it.each([
    ["a folder that cannot be made", "/proc/nope/x.log"],
    ["a file in place of a folder", join(folder, "old.log/x.log")],
    ["a folder in place of the file", folder],
  ])("refuses %s", (_, path) => {
    expect(() => openLogFile(path, (text) => text)).toThrowError(
      expect.objectContaining({ code: "INVALID_ARGUMENT", exitCode: 2 }),
    );
  });

  it("lets no control character through", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => !/\p{Cc}/u.test(printable(text).replaceAll(/[\t\n]/g, ""))),
    );
  });
});

describe("tables", () => {
  it("align columns by what is seen, wide characters included", () => {
    const columns = [
      { heading: "A", value: "a" },
      { heading: "B", value: "b.c" },
    ];

    const text = renderTable(columns, [{ a: "日本", b: { c: 1 } }, { a: "x" }], style);

    expect(text.split("\n")).toEqual(["A     B", "日本  1", "x     -"]);
  });

  it("draw one object as keys and values", () => {
    expect(renderRecord({ a: [1, 2], b: { c: null } }, style).split("\n")).toEqual(["a    1,2", "b.c  -"]);
  });

  it("draw lists of objects within one as tables below it, and line by line where that is too wide", () => {
    const members = [
      { node: "n1", seen: { generation: 2 } },
      { node: "n2", role: "worker", seen: { generation: 10 } },
    ];
    expect(renderRecord({ members, generation: 2 }, style).split("\n")).toEqual([
      "generation  2",
      "",
      "members",
      "NODE  SEEN.GENERATION  ROLE",
      "n1    2                -",
      "n2    10               worker",
    ]);
    const wide = { a: [{ text: "x".repeat(200), b: [{ c: 1 }] }] };
    expect(renderRecord(wide, style).split("\n")).toEqual([`a.0.text   ${"x".repeat(200)}`, "a.0.b.0.c  1"]);
  });

  it.each([
    [1536, "bytes", "x", "1.5 KiB"],
    [12.34, "percent", "x", "12.3 %"],
    [100, "percent", "x", "100 %"],
    [90, "duration", "uptimeSeconds", "1m 30s"],
    [90, "duration", "elapsedMs", "90ms"],
    ["2026-01-01T00:00:00Z", "age", "x", "1m ago"],
    [0.5, "fixed2", "x", "0.50"],
    [["a", "b"], "list", "x", "a,b"],
    [[], "list", "x", "-"],
    [null, "age", "x", "-"],
    ["a\nb", undefined, "x", "a b"],
  ] as const)("write %j as %s", (value, as, path, text) => {
    expect(formatCell(value, { value: path, ...(as ? { as } : {}) }, style.nowMs)).toBe(text);
  });

  it("reads nothing that an object only inherits", () => {
    expect(valueAt({}, "constructor.name")).toBeUndefined();
    expect(valueAt({ a: [{ b: 1 }] }, "a.0.b")).toBe(1);
  });
});
