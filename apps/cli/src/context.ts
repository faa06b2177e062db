// SPDX-License-Identifier: Apache-2.0
/**
 * Which cluster a command talks to (DESIGN.md 8a): `--context`, `DV_CONTEXT`, `./.debvisor/context.json`,
 * `/etc/debvisor/context.json`, in that order; `--server` with `DV_TOKEN` needs none of them.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Environment, unreadable } from "@debvisor/shared/config";
import { DvError } from "@debvisor/shared/errors";
import { z } from "zod";
import type { Settings } from "./settings.ts";

/** The file that the launcher and first boot write, mode 0600. */
const ContextFile = z.object({
  version: z.literal(1),
  cluster: z.string(),
  servers: z.array(z.url({ protocol: /^https?$/ })).min(1),
  token: z.string().min(1),
});

/** A context in use. `file` is undefined when `--server` was enough. */
export interface ResolvedContext {
  readonly file: string | undefined;
  readonly cluster: string | undefined;
  readonly servers: readonly string[];
  readonly token: string | undefined;
  /** What `--server`, `DV_TOKEN` or the file contributed; for `dvctl context show`. */
  readonly origin: { readonly servers: string; readonly token: string };
}

const SYSTEM_FILE = "/etc/debvisor/context.json";

/** Finds the context. @throws CONTEXT_MISSING CONFIG_INVALID INVALID_ARGUMENT */
export function resolveContext(
  settings: Pick<Settings, "server" | "context" | "origin">,
  env: Environment,
  cwd: string,
): ResolvedContext {
  const found = readContext(settings, cwd);
  const given = env["DV_TOKEN"] ? { token: env["DV_TOKEN"], from: "environment DV_TOKEN" } : undefined;
  if (settings.server !== undefined) return ofServer(normalise(settings.server), settings, found, given);
  if (!found) {
    const here = resolve(cwd, ".debvisor/context.json");
    throw new DvError("CONTEXT_MISSING", `No context: neither ${here} nor ${SYSTEM_FILE} exists.`);
  }
  const { cluster, servers, token } = found.content;
  return {
    file: found.file,
    cluster,
    servers,
    token: given?.token ?? token,
    origin: { servers: `file ${found.file}`, token: given?.from ?? `file ${found.file}` },
  };
}

/** Cluster that a context file is for; undefined for a file that is missing or no context. */
export function contextCluster(file: string): string | undefined {
  try {
    return ContextFile.parse(JSON.parse(readFileSync(file, "utf8"))).cluster;
  } catch {
    return undefined;
  }
}

/* A token goes only to servers that its file names, or where the caller put the two together with --context. */
function ofServer(
  url: string,
  settings: Pick<Settings, "context" | "origin">,
  found: FoundContext | undefined,
  given: { token: string; from: string } | undefined,
): ResolvedContext {
  const isKnown = found?.content.servers.some((known) => normalise(known) === url) ?? false;
  const trusted = isKnown || settings.context !== undefined ? found : undefined;
  const fromFile = trusted ? `file ${trusted.file}` : "none: set DV_TOKEN, or give --context with --server";
  return {
    file: trusted?.file,
    cluster: trusted?.content.cluster,
    servers: [url],
    token: given?.token ?? trusted?.content.token,
    origin: { servers: settings.origin["server"] ?? "flag --server", token: given?.from ?? fromFile },
  };
}

interface FoundContext {
  readonly file: string;
  readonly content: z.output<typeof ContextFile>;
}

function readContext(settings: Pick<Settings, "context">, cwd: string): FoundContext | undefined {
  const named = settings.context === undefined ? undefined : resolve(cwd, settings.context);
  for (const file of named ? [named] : [resolve(cwd, ".debvisor/context.json"), SYSTEM_FILE]) {
    const text = textOf(file);
    if (text !== undefined) return { file, content: parse(file, text) };
  }
  if (named) throw new DvError("CONTEXT_MISSING", `No context: ${named} does not exist.`);
  return undefined;
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(file, error);
  }
}

function parse(file: string, text: string): z.output<typeof ContextFile> {
  try {
    return ContextFile.parse(JSON.parse(text));
  } catch (error) {
    const problem =
      error instanceof z.ZodError ? `${error.issues[0]?.path.join(".")}: ${error.issues[0]?.message}` : "not JSON";
    throw malformed(file, problem, error);
  }
}

function malformed(file: string, problem: string, cause: unknown): DvError {
  return new DvError("CONFIG_INVALID", `${file}: ${problem}`, { details: { source: file }, cause });
}

function normalise(server: string): string {
  const text = /^[a-z]+:\/\//i.test(server) ? server : `http://${server}`;
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) throw new DvError("INVALID_ARGUMENT", `--server: not a URL: ${server}`);
  if (url.hostname === "localhost") url.hostname = "127.0.0.1";
  return url.href.replace(/\/+$/, "");
}
