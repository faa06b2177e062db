// SPDX-License-Identifier: Apache-2.0
/**
 * Table B2 of the style guide as a function: may this file import that? Relative imports are resolved first, because
 * `../dns/x.ts` slips past the lint rule.
 */
import path from "node:path";
import { isNode, type SourceFile, type SyntaxNode, stringValue } from "./source-tree.ts";

/** What an import points at. `path` is relative to the repository. */
export type Target =
  | { readonly kind: "file"; readonly path: string; readonly relative: boolean }
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "package"; readonly name: string };

/** Folder of each workspace by its package name. */
export type Workspaces = ReadonlyMap<string, string>;

const NATS = /^(?:@nats-io\/|nats$)/;
const TEST_LIBRARIES = new Set(["vitest", "fast-check"]);
/** Beside `proto-events`, the parts of `shared` that are pure. */
const PURE_SHARED = /^shared\/src\/(?:errors|token-bucket|units)(?:\.ts$|\/)/;
const DRIVER_SHARED = /^shared\/src\/(?:exec|errors|units|drivers|nats-server\/locate)(?:\.ts$|\/)/;
const IMPURE_NODE =
  /^(?:fs|net|child_process|dgram|dns|http|https|http2|tls|timers|perf_hooks|worker_threads|cluster|os|process|sqlite)(?:\/|$)/;

/** Every import of a file: static, re-export, dynamic with a literal, `require`, and type imports. */
export function importsOf(file: SourceFile): { readonly specifier: string; readonly node: SyntaxNode }[] {
  return file.nodes.flatMap((node) => {
    const specifier = stringValue(importedBy(node));
    return specifier === undefined ? [] : [{ specifier, node }];
  });
}

/** Resolves a specifier as Node does, as far as the rules need it. */
export function resolveImport(from: string, specifier: string, workspaces: Workspaces): Target {
  if (specifier.startsWith(".")) {
    return { kind: "file", path: path.posix.join(path.posix.dirname(from), specifier), relative: true };
  }
  if (specifier.startsWith("node:")) return { kind: "node", name: specifier.slice("node:".length) };
  const parts = specifier.split("/");
  const name = specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? specifier);
  const folder = workspaces.get(name);
  if (folder === undefined) return { kind: "package", name };
  const rest = specifier.slice(name.length + 1);
  const inside = folder === "shared" || folder === "proto-events" ? `src/${rest}.ts` : rest;
  return { kind: "file", path: path.posix.join(folder, inside), relative: false };
}

/** Why `from` may not import `target`, in one clause; `undefined` if it may. */
export function violation(from: string, target: Target): string | undefined {
  const unit = unitOf(from);
  if (target.kind === "package" && NATS.test(target.name)) return natsViolation(from, unit, target.name);
  if (unit === "test" || unit === "bench" || unit === "") return undefined;
  if (target.kind === "file" && isException(from, target.path)) return undefined;
  const byPackage = target.kind === "file" ? fileViolation(unit, target) : undefined;
  if (byPackage !== undefined) return byPackage;
  if (unit === "proto-events") return contractViolation(from, target);
  if (isTest(from)) return undefined;
  if (/^services\/[^/]+\/model\//.test(from)) return modelViolation(unit, target);
  if (/^services\/[^/]+\/drivers\//.test(from)) return driverViolation(unit, from, target);
  return undefined;
}

/** `services/vm`, `apps/cli`, `shared`, `tools`…; the empty string for a file at the top. */
function unitOf(file: string): string {
  const parts = file.split("/");
  if (parts.length === 1) return "";
  return parts[0] === "services" || parts[0] === "apps" ? parts.slice(0, 2).join("/") : (parts[0] ?? "");
}

function isException(from: string, to: string): boolean {
  // Commands are tested against a real HTTP server, which stands with the other launchers.
  if (isTest(from) && from.startsWith("apps/cli/") && to.startsWith("test/support/")) return true;
  // The local cluster puts services together; every bin starts through the one re-executor.
  if (from.startsWith("apps/lab/") && /^services\/[^/]+\/service\.ts$/.test(to)) return true;
  // What makes a machine a member runs before any service of it does: in a unit, typed by hand, or in a lab node.
  if (/^(?:apps\/(?:cli|lab)|deploy)\//.test(from) && /^services\/discovery\/joining\/[^/]+\.ts$/.test(to)) return true;
  return /^apps\/[^/]+\/bin\/[^/]+\.cjs$/.test(from) && to === "tools/node26.cjs";
}

const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "proto-events": [],
  shared: ["proto-events"],
  services: ["proto-events", "shared"],
  apps: ["proto-events", "shared"],
  // Generators read the command tree of the CLI.
  tools: ["proto-events", "shared", "apps/cli"],
  // What a unit starts that is no service of ours: the bus itself.
  deploy: ["proto-events", "shared"],
};

function fileViolation(unit: string, target: Target & { kind: "file" }): string | undefined {
  const to = unitOf(target.path);
  if (to === unit) return undefined;
  const allowed = MAY_IMPORT[unit.split("/")[0] ?? ""] ?? [];
  if (!allowed.includes(to)) return `${unit} may not import ${to === "" ? "the top level" : to}`;
  return target.relative ? `${unit} must import ${to} by its package name` : undefined;
}

function natsViolation(from: string, unit: string, name: string): string | undefined {
  if (unit === "test" || unit === "bench" || from.startsWith("shared/src/bus/")) return undefined;
  const isIdentity = name === "@nats-io/jwt" || name === "@nats-io/nkeys";
  if (unit === "shared" && isIdentity) return undefined;
  return "NATS packages belong to shared/src/bus";
}

function contractViolation(from: string, target: Target): string | undefined {
  if (target.kind === "file" || (target.kind === "package" && target.name === "zod")) return undefined;
  if (isTest(from) && (target.kind === "node" || TEST_LIBRARIES.has(target.name))) return undefined;
  return "proto-events imports zod alone";
}

function modelViolation(unit: string, target: Target): string | undefined {
  if (target.kind === "node") {
    return IMPURE_NODE.test(target.name) ? `model is pure and may not import node:${target.name}` : undefined;
  }
  if (target.kind === "package") return undefined;
  if (unitOf(target.path) === "shared" && !PURE_SHARED.test(target.path)) return "model may not import shared";
  const inner = target.path.slice(unit.length + 1);
  const isOwn = unitOf(target.path) === unit;
  return isOwn && !/^(?:model\/|config\.ts$)/.test(inner) ? "model imports only model of its service" : undefined;
}

function driverViolation(unit: string, from: string, target: Target): string | undefined {
  if (target.kind === "node") return undefined;
  if (target.kind === "package") {
    return /^(?:fastify$|fastify-|@fastify\/)/.test(target.name) ? "drivers know no transport" : undefined;
  }
  const to = unitOf(target.path);
  if (to === "proto-events") {
    return target.path === "proto-events/src/primitives.ts" ? undefined : "drivers import only proto-events/primitives";
  }
  if (to === "shared") {
    return DRIVER_SHARED.test(target.path)
      ? undefined
      : "drivers import only shared/exec, shared/errors and shared/drivers";
  }
  if (target.path.startsWith(`${unit}/model/`)) return undefined;
  if (!target.path.startsWith(`${unit}/drivers/`)) return "drivers import neither operations nor wiring";
  return toolOf(unit, from, target.path) ? undefined : "a driver may not import another driver";
}

/** A driver may be split: `libvirt.ts`, `libvirt-xml.ts` and `libvirt/` are one. */
function toolOf(unit: string, from: string, to: string): boolean {
  const [a, b] = [from, to].map((file) =>
    (file.slice(`${unit}/drivers/`.length).split("/")[0] ?? "").replace(/\.ts$/, ""),
  );
  return a !== undefined && b !== undefined && (a === b || a.startsWith(`${b}-`) || b.startsWith(`${a}-`));
}

function isTest(file: string): boolean {
  return /\.test\.tsx?$/.test(file);
}

function importedBy(node: SyntaxNode): unknown {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportNamedDeclaration":
    case "ExportAllDeclaration":
    case "ImportExpression":
      return node["source"];
    case "TSImportType":
      return node["source"] ?? node["argument"];
    case "CallExpression": {
      const callee = node["callee"];
      const isRequire = isNode(callee) && callee.type === "Identifier" && callee["name"] === "require";
      return isRequire ? (node["arguments"] as readonly unknown[])[0] : undefined;
    }
    default:
      return undefined;
  }
}
