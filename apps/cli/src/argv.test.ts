// SPDX-License-Identifier: Apache-2.0
/** Words, flags and checked input. */
import { describe, expect, it } from "vitest";
import { booleanFlags, parseInput, readGlobals, resolveCommand } from "./argv.ts";
import { flagsOf, type Program, titleOf } from "./command.ts";
import { dvctlProgram } from "./dvctl-program.ts";
import { programs } from "./reference.ts";
import { scan } from "./scan.ts";

const dvctl = dvctlProgram();

/** Splits as a shell would, as far as the examples need it. */
function shellWords(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, plain]) => double ?? single ?? plain ?? "",
  );
}

function parse(argv: readonly string[], program: Program = dvctl) {
  const scanned = scan(program, argv);
  const { command, words } = resolveCommand(program, scanned.words);
  if (!command) throw new Error("no command");
  return {
    title: titleOf(program, command),
    globals: readGlobals(scanned),
    ...parseInput(program, command, words, scanned),
  };
}

describe("the command line", () => {
  it.each([
    ["after the words", ["facts", "show", "--nodes", "all", "--format", "json"]],
    ["before the words", ["--nodes", "all", "--format", "json", "facts", "show"]],
    ["between the words", ["facts", "--nodes=all", "show", "--format=json"]],
    ["around the words", ["--format=json", "fact", "show", "--nodes", "all"]],
  ])("takes flags %s", (_, argv) => {
    const parsed = parse(argv);

    expect(parsed.title).toBe("dvctl facts show");
    expect(parsed.given).toEqual({ nodes: "all" });
    expect(parsed.globals["format"]).toBe("json");
  });

  it("ends flags at two dashes", () => {
    const parsed = parse(["tokens", "create", "--role", "viewer", "--", "--odd name"]);

    expect(parsed.given).toEqual({ name: "--odd name", role: "viewer" });
  });

  it("takes a value that begins with one dash", () => {
    expect(parse(["nodes", "list", "--sort", "-metrics.load1"]).given).toEqual({ sort: "-metrics.load1" });
  });

  it("reads lists from commas and from repeated flags", () => {
    expect(parse(["tokens", "create", "x", "--scopes", "a:b,c", "--scopes=d"]).given["scopes"]).toEqual([
      "a:b",
      "c",
      "d",
    ]);
  });

  it("reads switches with and without a value", () => {
    expect(parse(["health", "run", "--nodes", "all", "--quick"]).given["quick"]).toBe(true);
    expect(parse(["health", "run", "--nodes", "all", "--quick=true"]).given["quick"]).toBe(true);
    expect(parse(["health", "run", "--nodes", "all", "--quick=false"]).given["quick"]).toBeUndefined();
  });

  it("takes --timeout of discover as the time to listen", () => {
    expect(parse(["discover", "--timeout", "2"]).given).toEqual({ seconds: 2 });
    expect(parse(["discover", "--timeout=500ms"]).given).toEqual({ seconds: 0.5 });
    expect(parse(["discover", "--timeout", "9", "--seconds", "3"]).given).toEqual({ seconds: 3 });
  });

  it("knows --no-color and --confirm", () => {
    expect(parse(["nodes", "list", "--no-color"]).globals["noColor"]).toBe(true);
    expect(parse(["nodes", "list"]).globals["noColor"]).toBeUndefined();
    expect(parse(["nodes", "delete", "n", "--reason", "r", "--confirm"]).confirmed).toBe(true);
  });

  it.each([
    [["nodes", "service", "restart", "n", "u"], "dvctl nodes service restart", { node: "n", unit: "u" }],
    [["node", "service", "restart", "n", "u"], "dvctl nodes service restart", { node: "n", unit: "u" }],
    [
      ["nodes", "--check", "file", "remove", "/etc/x", "--nodes=a"],
      "dvctl nodes file remove",
      { path: "/etc/x", nodes: "a", check: true },
    ],
  ])("finds a verb of two words in %j", (argv, title, given) => {
    expect(parse(argv)).toMatchObject({ title, given });
  });

  it.each([
    ["alone, in front of a word", ["nodes", "reboot", "--wait", "n"], { nodes: "n", wait: "1h" }],
    ["alone, before the words", ["--wait", "nodes", "reboot", "n"], { nodes: "n", wait: "1h" }],
    ["with a value", ["nodes", "reboot", "n", "--wait=5m"], { nodes: "n", wait: "5m" }],
    ["as a value's flag elsewhere", ["status", "--wait", "60"], { wait: "60" }],
    ["as a value's flag elsewhere, before the words", ["--wait", "60", "status"], { wait: "60" }],
    [
      "as a value's flag elsewhere, between the words",
      ["lab", "--wait", "60", "start", "n"],
      { wait: "60", node: "n" },
    ],
  ])("takes --wait %s", (_, argv, given) => {
    expect(parse(argv).given).toEqual(given);
  });

  it("needs no argument with --rollback and --status, but takes no word too many", () => {
    expect(parse(["nodes", "service", "restart", "--rollback"]).given).toEqual({ rollback: "latest" });
    expect(parse(["nodes", "file", "put", "--status=op-x"]).given).toEqual({ status: "op-x" });
    expect(() => parse(["nodes", "service", "restart", "--rollback", "a", "b", "c"])).toThrowError("too many words");
  });

  it.each([
    ["an unknown noun", ["noodles"]],
    ["half of a verb of two words", ["nodes", "service"]],
    ["an unknown second word", ["nodes", "service", "frobnicate"]],
    ["--mode and --plan of a durable operation", ["nodes", "reboot", "n", "--plan", "x"]],
    ["a flag that may not stand alone", ["nodes", "list", "--rollback"]],
    ["an unknown verb", ["nodes", "frobnicate"]],
    ["an unknown flag", ["nodes", "list", "--nope"]],
    ["an unknown short flag", ["nodes", "list", "-x"]],
    ["a flag without its value", ["nodes", "list", "--filter"]],
    ["a flag in place of a value", ["facts", "show", "--nodes", "--json"]],
    ["a word too many", ["nodes", "show", "a", "b"]],
    ["a missing argument", ["nodes", "show"]],
    ["a missing required flag", ["nodes", "disable", "a"]],
    ["a missing selection of nodes", ["facts", "show"]],
    ["a value outside the enumeration", ["status", "--component", "moon"]],
    ["a number out of range", ["nodes", "list", "--limit", "0"]],
    ["text for a number", ["nodes", "list", "--limit", "many"]],
    ["a switch that is neither true nor false", ["health", "run", "--nodes", "all", "--quick=maybe"]],
    ["--confirm on a command that only reads", ["nodes", "list", "--confirm"]],
  ])("refuses %s", (_, argv) => {
    expect(() => parse(argv)).toThrowError(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe.each(programs())("every command of $name", (program) => {
  it("spells no flag as a switch here and with a value there", () => {
    const switches = booleanFlags(program);
    const odd = program.commands
      .flatMap(flagsOf)
      .filter(({ label, type, repeated }) => switches.get(label) !== (type === "boolean" && !repeated));

    expect(odd).toEqual([]);
  });

  it.each(program.commands.map((command) => [titleOf(program, command), command] as const))(
    "%s: examples are accepted as typed",
    (title, command) => {
      for (const { command: typed } of [...command.help.examples, ...(command.help.scenarios ?? [])]) {
        const inner = typed.match(/<\((.*)\)/)?.[1] ?? typed.match(/\$\((.*)\)/)?.[1] ?? typed.replace(/^\w+=\S+ /, "");
        const line = inner.split(/ (?:\||>|&&|\|\|) /)[0] ?? inner;
        const [name, ...argv] = shellWords(line);

        expect([program.name, "dvctl"]).toContain(name);
        expect(parse(argv, name === program.name ? program : dvctl).title, typed).toContain(
          name === program.name ? (title.split(" ")[0] ?? "") : "dvctl",
        );
      }
    },
  );
});
