// SPDX-License-Identifier: Apache-2.0
/**
 * Reads which Debian archive this machine uses out of apt's source lists, in both formats (deb822 and one line).
 * `apt-get indextargets` would do it too, but it lists only what an earlier `apt-get update` has fetched, and a fresh
 * container has fetched nothing.
 */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";

/** One archive as apt's configuration names it. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
}

/** Parses the deb822 format (`*.sources`). Disabled stanzas and source-only ones are left out. */
export function parseDeb822Sources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const withoutComments = text.replace(/^#.*\n?/gm, "");
  for (const stanza of withoutComments.split(/\n\s*\n/)) {
    const fields = parseStanza(stanza);
    const words = (name: string): string[] => (fields.get(name) ?? "").split(/\s+/).filter(Boolean);
    if (!words("types").includes("deb") || /^(no|false|0|off|without|disable)$/i.test(fields.get("enabled") ?? "yes"))
      continue;
    for (const uri of words("uris")) {
      for (const suite of words("suites")) sources.push({ uri, suite, components: words("components") });
    }
  }
  return sources;
}

/** Parses the one-line format (`*.list`): `deb [options] uri suite component…`. */
export function parseOneLineSources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s+)?([^\s#]+)\s+([^\s#]+)([^#]*)/.exec(line);
    const [, uri, suite, components] = match ?? [];
    if (uri === undefined || suite === undefined) continue;
    sources.push({ uri, suite, components: (components ?? "").split(/\s+/).filter(Boolean) });
  }
  return sources;
}

/**
 * The archives that carry Debian itself, best first, without duplicates: component main of a Debian release, no security
 * archive and no medium. An archive with `debian` in its address comes before one without.
 */
export function debianArchives(sources: readonly AptSource[], codename: string | undefined): string[] {
  const uris = sources
    .filter((source) => isDebianArchive(source, codename))
    .map((source) => source.uri.replace(/\/+$/, ""));
  const unique = [...new Set(uris)];
  return [...unique.filter((uri) => /debian/i.test(uri)), ...unique.filter((uri) => !/debian/i.test(uri))];
}

/** Reads every source list below `etcApt` (normally `/etc/apt`). Unreadable and missing files count as empty. */
export async function readAptSources(etcApt: string): Promise<AptSource[]> {
  const parts = path.join(etcApt, "sources.list.d");
  const names = await readdir(parts).catch(() => []);
  const files = [path.join(etcApt, "sources.list"), ...names.sort().map((name) => path.join(parts, name))];
  const lists = files.map(async (file) => {
    const parse = file.endsWith(".sources")
      ? parseDeb822Sources
      : file.endsWith(".list")
        ? parseOneLineSources
        : undefined;
    return parse === undefined ? [] : parse(await readFile(file, "utf8").catch(() => ""));
  });
  return (await Promise.all(lists)).flat();
}

const DEBIAN_SUITES = new Set([
  "oldoldstable",
  "oldstable",
  "stable",
  "testing",
  "unstable",
  "sid",
  "bookworm",
  "trixie",
  "forky",
  "duke",
]);

function isDebianArchive(source: AptSource, codename: string | undefined): boolean {
  const isRelease = DEBIAN_SUITES.has(source.suite) || source.suite === codename;
  return (
    isRelease && source.components.includes("main") && !/security/i.test(source.uri) && !source.uri.startsWith("cdrom:")
  );
}

function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last: string | undefined;
  for (const line of stanza.split("\n")) {
    const field = /^([A-Za-z-]+)\s*:\s*(.*)$/.exec(line);
    if (field?.[1] !== undefined) {
      last = field[1].toLowerCase();
      fields.set(last, (field[2] ?? "").trim());
    } else if (last !== undefined && /^\s/.test(line)) {
      fields.set(last, `${fields.get(last)} ${line.trim()}`);
    }
  }
  return fields;
}
