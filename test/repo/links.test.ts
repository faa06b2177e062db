// SPDX-License-Identifier: Apache-2.0
/** Markdown links to local paths lead somewhere (D6.7). Code blocks and code spans are no links. */
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT, readText, repositoryFiles } from "./source-tree.ts";

/** Local targets of a Markdown text: inline links and images, and reference definitions. Without fragment and query. */
function localLinks(markdown: string): string[] {
  const prose = markdown
    .replace(/^( {0,3})(```+|~~~+)[\s\S]*?^ {0,3}\2[^\n]*$/gm, "")
    .replace(/<!--[\s\S]*?-->/g, "")
    .replace(/(`+)(?!`)[\s\S]*?[^`]\1(?!`)/g, "");
  const inline = [...prose.matchAll(/\]\(\s*(?:<([^>]*)>|([^\s)]+))/g)].map((match) => match[1] ?? match[2] ?? "");
  const definitions = [...prose.matchAll(/^ {0,3}\[[^\]]+\]:\s*(?:<([^>]*)>|(\S+))/gm)].map(
    (match) => match[1] ?? match[2] ?? "",
  );
  return [...inline, ...definitions]
    .filter((target) => !/^(?:[a-z][a-z0-9+.-]*:|\/\/|#)/i.test(target))
    .map((target) => decodeURIComponent(target.replace(/[#?].*$/, "")))
    .filter((target) => target !== "");
}

/** Where a link leads, relative to the repository; a leading slash means its top. */
function resolveLink(from: string, target: string): string {
  return target.startsWith("/") ? target.slice(1) : path.posix.join(path.posix.dirname(from), target);
}

describe("Markdown links", () => {
  it("to local paths lead somewhere", () => {
    const pages = repositoryFiles().filter((file) => file.endsWith(".md"));

    const dead = pages.flatMap((page) =>
      localLinks(readText(page))
        .filter((target) => !existsSync(path.join(ROOT, resolveLink(page, target))))
        .map((target) => `${page} links to ${target}`),
    );

    expect(dead).toEqual([]);
  });
});

describe("the rule for links", () => {
  it("reads inline links, images and definitions, and nothing in code", () => {
    const text = [
      "[a](docs/a.md) ![b](<b c.png>) [c](../c.md#part 'title') [web](https://example.org) [top](#top)",
      "[d]: /d.md",
      "`[e](e.md)`",
      "```md",
      "[f](f.md)",
      "```",
      "[g](g.md)",
    ].join("\n");

    expect(localLinks(text)).toEqual(["docs/a.md", "b c.png", "../c.md", "g.md", "/d.md"]);
  });
});
