// SPDX-License-Identifier: Apache-2.0
/** Commands about the machine they are typed on: what they write, and what they refuse before they have written anything. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parsePreseed } from "@debvisor/shared/join/preseed";
import { openNode } from "@debvisor/shared/machine-binding";
import { nodePaths, readMembership, readNode, writePrivateFile } from "@debvisor/shared/node-files";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { dvctlProgram } from "./dvctl-program.ts";
import { runProgram } from "./program.ts";

const root = mkdtempSync(join(tmpdir(), "dv-machine-"));
afterAll(() => rmSync(root, { recursive: true }));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(root, "m-"));
});

async function dvctl(...argv: string[]) {
  let out = "";
  let err = "";
  const code = await runProgram(dvctlProgram(), argv, {
    env: { HOME: root },
    cwd: folder,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    terminal: undefined,
  });
  return { code, out, err };
}

const init = (...more: string[]) =>
  dvctl(
    ...["cluster", "init", "--single", "--id", "lab1", "--name", "node-1", "--listen", "127.0.0.1"],
    ...FOLDERS,
    ...more,
  );
const FOLDERS = ["--node-dir", "node", "--etc", "etc"];

function modeOf(file: string): number {
  return statSync(file).mode & 0o777;
}

/** The key in a context file and its hash in the gateway's settings belong together. */
function expectSameKey(contextFile: string, gatewayFile: string): void {
  const { token } = JSON.parse(readFileSync(contextFile, "utf8")) as { token: string };
  const [, id, secret = ""] = /^dv_([a-z0-9]+)_(.+)$/.exec(token) ?? [];
  const hash = createHash("sha256").update(secret).digest("hex");
  expect(parse(readFileSync(gatewayFile, "utf8"))).toMatchObject({ bootstrapTokens: [{ id, hash, role: "admin" }] });
}

describe("dvctl cluster init", () => {
  it("founds, and gives the first administrator a key", async () => {
    const { code, out } = await init("--servers", "5", "--ports", "bus=14222,join=18422", "--json");
    const dir = join(folder, "node");
    const paths = nodePaths(dir);

    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ cluster: "lab1", name: "node-1", servers: 5, node: readNode(dir).id });
    expect(readMembership(dir)).toMatchObject({ cluster: "lab1", server: { host: "127.0.0.1", port: 14_222 } });
    expect(JSON.parse(readFileSync(paths.founding, "utf8"))).toMatchObject({ servers: 5 });
    expectSameKey(join(folder, "etc/context.json"), paths.presets("gateway"));
    expect(parse(readFileSync(paths.presets("discovery"), "utf8"))).toEqual({ joinPort: 18_422, unattendedHours: 0 });
    expect([paths.identity, paths.secrets, join(folder, "etc/context.json")].map(modeOf)).toEqual([
      0o600, 0o600, 0o600,
    ]);
  });

  it("has to be told that it founds alone", async () => {
    const { code, err } = await dvctl("cluster", "init", ...FOLDERS);

    expect(code).toBe(2);
    expect(err).toContain("say --single");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("does not found on a machine that belongs to a cluster, or holds the data of one", async () => {
    await init();
    const before = readFileSync(join(folder, "node/membership.json"), "utf8");
    const again = await init("--etc", "elsewhere");
    mkdirSync(join(folder, "other/nats"), { recursive: true });
    writePrivateFile(join(folder, "other/nats/formed"), "x\n");
    const data = await init("--node-dir", "other", "--etc", "elsewhere");

    expect(again).toMatchObject({ code: 5, out: "" });
    expect(readFileSync(join(folder, "node/membership.json"), "utf8")).toBe(before);
    expect(data).toMatchObject({ code: 6, out: "" });
    expect(existsSync(join(folder, "elsewhere"))).toBe(false);
  });

  it("keeps a context file that is there", async () => {
    writePrivateFile(join(folder, "etc/context.json"), "{}\n");
    const { code, err } = await init();

    expect(code).toBe(5);
    expect(err).toContain("etc/context.json exists");
    expect(readdirSync(folder)).toEqual(["etc"]);
  });

  it.each([
    ["a port that is none", ["--ports", "bus=70000"]],
    ["a port of nothing", ["--ports", "mail=25"]],
    ["one helper port", ["--ports", "helper=4223"]],
    ["an address that is none", ["--listen", "node-1"]],
    ["two servers", ["--servers", "2"]],
    ["a folder below one that is missing", ["--node-dir", "a/b"]],
    ["a folder that cannot be", ["--node-dir", "/proc/x"]],
  ])("refuses %s", async (_what, flags) => {
    const { code, out } = await init(...flags);

    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(existsSync(join(folder, "node/membership.json"))).toBe(false);
  });

  it("says so where it may not write", async () => {
    const { code, err } = await init("--node-dir", "/proc/1");

    expect([1, 2]).toContain(code);
    expect(err).toMatch(/cannot be written \(E[A-Z]+\)/);
  });
});

describe("dvctl cluster prepare", () => {
  const prepare = (...more: string[]) => dvctl("cluster", "prepare", "files", "--id", "lab1", ...more);

  it("writes a preseed file that machines accept, with a new secret", async () => {
    const { code } = await prepare("--servers", "3", "--addresses", "192.0.2.1,[2001:db8::1]:8422");
    const preseed = parsePreseed(readFileSync(join(folder, "files/preseed.yaml"), "utf8"));

    expect(code).toBe(0);
    expect(preseed).toMatchObject({ cluster: "lab1", servers: 3, addresses: ["192.0.2.1", "[2001:db8::1]:8422"] });
    expect(Buffer.from(preseed.secret, "base64")).toHaveLength(32);
    expectSameKey(join(folder, "files/context.json"), join(folder, "files/gateway.yaml"));
    expect(["preseed.yaml", "gateway.yaml", "context.json"].map((name) => modeOf(join(folder, "files", name)))).toEqual(
      [0o600, 0o644, 0o600],
    );
  });

  it("overwrites nothing: machines may have the secret already", async () => {
    await prepare("--servers", "3");
    const before = readFileSync(join(folder, "files/preseed.yaml"), "utf8");
    const { code, out } = await prepare("--servers", "3");

    expect({ code, out }).toEqual({ code: 5, out: "" });
    expect(readFileSync(join(folder, "files/preseed.yaml"), "utf8")).toBe(before);
  });

  it.each([
    [["--servers", "1"]],
    [["--servers", "1", "--founder", "node-1"]],
    [["--servers", "5", "--founder", "node-1"]],
  ])("takes %j", async (flags) => {
    expect(await prepare(...flags)).toMatchObject({ code: 0 });
    expect(parsePreseed(readFileSync(join(folder, "files/preseed.yaml"), "utf8")).cluster).toBe("lab1");
  });

  it.each([[["--servers", "4"]], [["--servers", "3", "--addresses", "a b"]], [[]]])("refuses %j", async (flags) => {
    expect(await prepare(...flags)).toMatchObject({ code: 2, out: "" });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("dvctl nodes reset", () => {
  const reset = (...words: string[]) => dvctl("nodes", "reset", ...words, ...FOLDERS);

  it("leaves a machine that founds anew under another id", async () => {
    await init();
    const { id } = readNode(join(folder, "node"));
    writePrivateFile(join(folder, "node/state/audit/x"), "not sent yet");
    const done = await reset("--confirm", id);

    expect(done).toMatchObject({ code: 0 });
    expect(readdirSync(join(folder, "node"))).toEqual([`state-${id}`]);
    expect(readdirSync(join(folder, "etc"))).toEqual([]);
    expect(await init()).toMatchObject({ code: 0 });
    expect(readNode(join(folder, "node")).id).not.toBe(id);
  });

  it("does nothing without consent, for another id, or to a node of a local cluster", async () => {
    await init();
    const dir = join(folder, "node");
    const node = readNode(dir);
    const unasked = await reset(node.id);
    const other = await reset("--confirm", "abcdefghijklmnop");
    writePrivateFile(nodePaths(dir).node, JSON.stringify({ ...node, root: "/tmp" }));
    const local = await reset("--confirm", node.id);

    expect([unasked.code, other.code, local.code]).toEqual([2, 2, 2]);
    expect(readMembership(dir)?.cluster).toBe("lab1");
  });

  it("keeps the context of another cluster", async () => {
    await init();
    const file = join(folder, "etc/context.json");
    const context = JSON.parse(readFileSync(file, "utf8")) as object;
    writePrivateFile(file, JSON.stringify({ ...context, cluster: "lab2" }));

    expect(await reset("--confirm", readNode(join(folder, "node")).id)).toMatchObject({ code: 0 });
    expect(existsSync(file)).toBe(true);
  });
});

describe("dvctl nodes rebind", () => {
  it("lets the node go on where its key was refused, and only for its id", async () => {
    await init();
    const dir = join(folder, "node");
    const { id } = readNode(dir);
    const { binding } = nodePaths(dir);
    const own = readFileSync(binding, "utf8");
    const elsewhere = own.replaceAll(/"[0-9a-f]{64}"/g, `"${"0".repeat(64)}"`);
    writePrivateFile(binding, elsewhere);
    const refused = () => openNode(dir);
    const rebind = (...words: string[]) => dvctl("nodes", "rebind", ...words, "--node-dir", "node");

    expect(refused).toThrow(`dvctl nodes rebind ${id} --confirm`);
    expect((await rebind("--confirm", "abcdefghijklmnop")).code).toBe(2);
    expect((await rebind(id)).code).toBe(2);
    expect(readFileSync(binding, "utf8")).toBe(elsewhere);
    expect(await rebind("--confirm", id)).toMatchObject({ code: 0 });
    expect(JSON.parse(readFileSync(binding, "utf8"))).toMatchObject(JSON.parse(own) as object);
    expect(openNode(dir).id).toBe(id);
  });
});

describe("dvctl credentials create", () => {
  const create = (...more: string[]) =>
    dvctl("credentials", "create", "--role", "event-reader", "--node-dir", "node", ...more);

  it("prints a credentials file and nothing else", async () => {
    await init();
    const { code, out, err } = await create("--name", "siem");

    expect(code).toBe(0);
    expect(out).toMatch(/^-----BEGIN NATS USER JWT-----\n[\s\S]+------END USER NKEY SEED------\n$/);
    expect(err).toContain("user events-siem; bus: tls://127.0.0.1:4222");
    expect(err).toContain(nodePaths(join(folder, "node")).tls.ca);
  });

  it("needs a server, and a name that can be one", async () => {
    expect(await create("--name", "siem")).toMatchObject({ code: 4, out: "" });
    await init();
    expect(await create("--name", "a.b")).toMatchObject({ code: 2, out: "" });
    rmSync(nodePaths(join(folder, "node")).secrets);
    expect(await create("--name", "siem")).toMatchObject({ code: 4, out: "" });
  });
});
