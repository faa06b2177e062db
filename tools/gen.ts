// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run gen`: writes everything under docs/reference from the contracts and commands. With `--check` it writes nothing
 * and fails when a page differs from what it would write; a repository test calls it so.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { generateCliReference, generateManPages } from "@debvisor/cli/src/reference.ts";
import { ROOT } from "./paths.ts";
import { contractPages, durablePage } from "./reference/contracts.ts";
import { permissionsPage } from "./reference/permissions.ts";
import { streamsPage } from "./reference/streams.ts";

const FOLDER = join(ROOT, "docs", "reference");

/** Every generated file by its path below docs/reference. */
export function generateAll(): Map<string, string> {
  const pages = new Map<string, string>([
    ["commands.md", generateCliReference()],
    ["durable.md", durablePage()],
    ["permissions.md", permissionsPage()],
    ["streams.md", streamsPage()],
  ]);
  for (const [name, text] of contractPages()) pages.set(name, text);
  for (const [name, text] of generateManPages()) pages.set(join("man", name), text);
  return pages;
}

/** Paths whose content differs from a fresh generation, or that should not be there. */
export function staleFiles(): string[] {
  const pages = generateAll();
  const stale = [...pages].filter(([path, text]) => read(join(FOLDER, path)) !== text).map(([path]) => path);
  return [...stale, ...present().filter((path) => !pages.has(path))];
}

function write(): void {
  const pages = generateAll();
  for (const path of present()) if (!pages.has(path)) rmSync(join(FOLDER, path));
  for (const [path, text] of pages) {
    mkdirSync(dirname(join(FOLDER, path)), { recursive: true });
    writeFileSync(join(FOLDER, path), text);
  }
  console.log(`${pages.size} files in docs/reference`);
}

function present(): string[] {
  try {
    return readdirSync(FOLDER, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(FOLDER.length + 1));
  } catch {
    return [];
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  if (process.argv.includes("--check")) {
    const stale = staleFiles();
    if (stale.length > 0) {
      console.error(`[ERROR] docs/reference is not up to date, run npm run gen: ${stale.join(", ")}`);
      process.exitCode = 1;
    }
  } else write();
}
