// SPDX-License-Identifier: Apache-2.0
/** Every service has the anatomy of B3: the same files, a README with the same headings, and a systemd unit (D6.5). */
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { systemdNames } from "../../services/node-agent/model/unit-state.ts";
import { ROOT, readText, repositoryFiles } from "./source-tree.ts";

const FILES = ["README.md", "package.json", "main.ts", "service.ts", "config.ts"];
const HEADINGS = [
  "What it is for",
  "Runs where",
  "Contract",
  "State it owns",
  "Talks to",
  "Privileges",
  "Configuration",
  "When it fails",
  "Try it",
];

const services = [...new Set(repositoryFiles().flatMap((file) => /^services\/([^/]+)\//.exec(file)?.[1] ?? []))];

/** Headings below the title that are missing or out of order. */
function headingFaults(readme: string): string[] {
  const withoutCode = readme.replace(/^```[\s\S]*?^```/gm, "");
  const present = [...withoutCode.matchAll(/^#{2,}\s+(.+?)\s*#*$/gm)].map((match) => match[1] ?? "");
  const missing = HEADINGS.filter((heading) => !present.includes(heading));
  if (missing.length > 0) return missing.map((heading) => `lacks the heading "${heading}"`);
  const order = present.filter((heading) => HEADINGS.includes(heading));
  return order.join() === HEADINGS.join() ? [] : [`has its headings in another order: ${order.join(", ")}`];
}

describe("every service", () => {
  it("has the files of the anatomy and a unit", () => {
    const wanted = services.flatMap((service) => [
      ...FILES.map((file) => `services/${service}/${file}`),
      `systemd/${systemdNames(service)[0]}`,
    ]);

    expect(wanted.filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([]);
  });

  it("has a README with the agreed headings in the agreed order", () => {
    const readmes = services.map((service) => `services/${service}/README.md`);

    const found = readmes
      .filter((readme) => existsSync(path.join(ROOT, readme)))
      .flatMap((readme) => headingFaults(readText(readme)).map((fault) => `${readme} ${fault}`));

    expect(found).toEqual([]);
  });

  it("is named after its folder", () => {
    const manifests = services.map((service) => ({ service, file: `services/${service}/package.json` }));

    const found = manifests
      .filter(({ file }) => existsSync(path.join(ROOT, file)))
      .filter(({ service, file }) => JSON.parse(readText(file)).name !== `@debvisor/${service}`)
      .map(({ file }) => file);

    expect(found).toEqual([]);
  });
});
