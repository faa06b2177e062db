// SPDX-License-Identifier: Apache-2.0
/** Help pages, manual pages, completion and reference of all commands. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { titleOf, wordsOf } from "./command.ts";
import { completionScript } from "./completion.ts";
import { dvctlProgram } from "./dvctl-program.ts";
import { commandHelp, SECTION_TITLES, sectionsOf } from "./help.ts";
import { generateCliReference, generateManPages, programs } from "./reference.ts";

const pages = programs().flatMap((program) =>
  program.commands.map((command) => ({ title: titleOf(program, command), program, command })),
);

describe.each(pages)("help of $title", ({ program, command }) => {
  it("has every section, each with something in it", () => {
    const sections = sectionsOf(program, command);

    expect(sections.map(({ title }) => title)).toEqual([...SECTION_TITLES]);
    for (const { title, lines = [], pairs = [] } of sections) {
      const texts = [...lines, ...pairs.flat()];
      expect(texts.length, title).toBeGreaterThan(0);
      for (const text of texts) expect(text.trim(), title).not.toBe("");
    }
  });

  it("explains every flag", () => {
    const flags = sectionsOf(program, command).find(({ title }) => title === "FLAGS")?.pairs ?? [];

    for (const [flag, text] of flags) expect(text.length, flag).toBeGreaterThan(3);
  });

  it("says what a change changes and how it is undone", () => {
    const text = commandHelp(program, command);

    if (command.effect !== "read") {
      expect(command.help.changes).toBeTruthy();
      expect(command.help.undo).toBeTruthy();
    }
    expect(text).toContain("REQUIRED PRIVILEGE");
  });
});

describe("manual pages", () => {
  it("exist for every command and are free of lines that roff would take as requests", () => {
    const generated = generateManPages();

    expect([...generated.keys()]).toEqual(
      expect.arrayContaining(["dvctl.1", "dvctl-nodes-list.1", "debvisor-health-check.1"]),
    );
    for (const [name, text] of generated) {
      const requests = text
        .split("\n")
        .filter((line) => line.startsWith(".") && !/^\.(\\"|TH |SH |PP$|TP$)/.test(line));
      expect(requests, name).toEqual([]);
    }
  });

  it("are the same every time", () => {
    expect([...generateManPages()]).toEqual([...generateManPages()]);
    expect(generateCliReference()).toBe(generateCliReference());
  });
});

describe("completion", () => {
  const program = dvctlProgram();

  function complete(...words: string[]): string[] {
    const script = `${completionScript(program, "bash")}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _dvctl; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["--norc", "-c", script], { encoding: "utf8" });
    expect(stderr).toBe("");
    return stdout.split("\n").filter((line) => line !== "");
  }

  it.each([
    ["nouns", ["dvctl", "no"], ["nodes"]],
    ["verbs", ["dvctl", "nodes", "dis"], ["disable"]],
    ["flags of the command", ["dvctl", "nodes", "disable", "node-1", "--rea"], ["--reason"]],
    ["the first word of two", ["dvctl", "nodes", "serv"], ["service"]],
    ["the second word of two", ["dvctl", "nodes", "file", ""], ["put", "remove"]],
    ["flags behind two words", ["dvctl", "nodes", "file", "put", "--to"], ["--to"]],
    ["flags of a durable operation", ["dvctl", "nodes", "service", "restart", "n", "u", "--dry"], ["--dry-run"]],
    ["values of an enumeration", ["dvctl", "tokens", "create", "x", "--role", "op"], ["operator"]],
    ["values of an argument", ["dvctl", "completion", "z"], ["zsh"]],
  ])("of bash offers %s", (_, words, offered) => {
    expect(complete(...words)).toEqual(offered);
  });

  it.each(["zsh", "fish"] as const)("of %s names every noun and verb", (shell) => {
    const script = completionScript(program, shell);

    for (const command of program.commands) for (const word of wordsOf(command)) expect(script).toContain(word);
  });
});
