// SPDX-License-Identifier: Apache-2.0
/** Machines that are let in by comparing words, with what people type: `debvisor-join --words` at one, `dvctl nodes approve` at the other. */
import { existsSync } from "node:fs";
import { nodePaths, readMembership, readNode } from "@debvisor/shared/node-files";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Machine } from "../../support/machine.ts";
import { waitFor } from "../../support/wait-for.ts";
import { startRelay } from "../join/rig.ts";

const PATIENCE_MS = 20_000;

let first: Machine;
let other: Machine;

beforeAll(async () => {
  [first, other] = await Promise.all([Machine.create("node-1"), Machine.create("node-2")]);
  await first.foundAlone();
});

afterAll(async () => {
  for (const machine of [other, first]) await machine?.[Symbol.asyncDispose]();
});

/** Begins to join; resolves when the words are on the machine's screen. */
async function showWords(port = first.joinPort, machine = other, ...more: string[]) {
  const where = ["--address", `127.0.0.1:${port}`, "--interface", "127.0.0.1"];
  const joining = machine.begin("debvisor-join", ["--words", ...where, ...machine.flags, ...more]);
  const shown = () => /^.*words: ([a-z ]+)$/m.exec(joining.said())?.[1];
  await waitFor(
    () => shown() !== undefined,
    PATIENCE_MS,
    () => `no words: ${joining.said()}; ${first.log.slice(-3_000)}`,
  );
  return { ...joining, words: shown() ?? "" };
}

interface Pending {
  readonly instance: string;
  readonly name: string;
  readonly role: string;
  readonly words: string | null;
}

async function pending(): Promise<Pending[]> {
  const { stdout } = await first.dvctl("nodes", "pending", "--json");
  return (JSON.parse(stdout) as { items: Pending[] }).items;
}

const approve = (node: string, words: string) => first.dvctl("nodes", "approve", node, "--words", words);

async function members(): Promise<unknown[]> {
  const { stdout } = await first.dvctl("cluster", "members", "--json");
  return (JSON.parse(stdout) as { items: unknown[] }).items;
}

it("other words than those on the machine's screen end its attempt", async () => {
  const joining = await showWords();
  const { id } = readNode(other.dir);
  const typed = await approve(id, "zoo zoo zoo zoo zoo zoo");
  const joined = await joining.done;
  const late = await approve(id, joining.words);

  expect(typed).toMatchObject({ code: 5, stdout: "" });
  expect(typed.stderr).toContain("JOIN_WORDS_DIFFER");
  expect(joined.code).not.toBe(0);
  expect(joined.stderr).toContain("JOIN_WORDS_DIFFER");
  expect(late).toMatchObject({ code: 3 });
  expect(readMembership(other.dir)).toBeUndefined();
});

it("a machine whose screen shows other words than the member does not join, whatever was typed there", async () => {
  const joining = await showWords();
  const { id } = readNode(other.dir);
  const typed = await approve(id, joining.words);
  joining.answer("no\n");
  const joined = await joining.done;

  expect(typed).toMatchObject({ code: 0 });
  expect(joined.stderr).toContain("JOIN_WORDS_DIFFER");
  expect(readMembership(other.dir)).toBeUndefined();
  expect(await members()).toHaveLength(1);
  expect(await approve(id, joining.words)).toMatchObject({ code: 3 });
});

it("somebody in between is seen: the member shows other words, and the machine's own are refused there", async () => {
  await using relay = await startRelay(first.joinPort);
  const joining = await showWords(relay.port);
  const [inBetween] = (await pending()).filter(({ words }) => words !== null);
  const typed = await approve(inBetween?.instance ?? "", joining.words);
  joining.answer("no\n");

  expect(inBetween).toMatchObject({ name: "node-2", words: expect.any(String) });
  expect(inBetween?.instance).not.toBe(readNode(other.dir).id);
  expect(inBetween?.words).not.toBe(joining.words);
  expect(typed.stderr).toContain("JOIN_WORDS_DIFFER");
  expect((await joining.done).code).not.toBe(0);
  expect(await members()).toHaveLength(1);
});

it("the same words on both screens let the machine in, once", async () => {
  const joining = await showWords();
  const { id } = readNode(other.dir);
  const [waits] = (await pending()).filter(({ instance }) => instance === id);
  const early = await first.dvctl("nodes", "approve", id, "--words", "five words are not enough");
  const typed = await approve(id, joining.words.toUpperCase());
  joining.answer("yes\n");
  const joined = await joining.done;
  const again = await approve(id, joining.words);

  expect(waits).toMatchObject({ name: "node-2", role: "worker", words: joining.words });
  expect(early).toMatchObject({ code: 2, stdout: "" });
  expect(typed).toMatchObject({ code: 0 });
  expect(joined).toMatchObject({ code: 0 });
  expect(joined.stdout).toMatch(new RegExp(`^letInBy +${readNode(first.dir).id}$`, "m"));
  expect(readMembership(other.dir)?.formation).toBe(readMembership(first.dir)?.formation);
  expect(await members()).toContainEqual(expect.objectContaining({ name: "node-2", admittedBy: "words" }));
  expect(again.code).not.toBe(0);
  expect((await pending()).filter(({ instance }) => instance === id)).toEqual([]);
});

it("a server joins too, and whoever sits at it may say yes first", async () => {
  await using server = await Machine.create("node-3");
  const joining = await showWords(first.joinPort, server, "--role", "server");
  joining.answer("yes\n");
  await waitFor(
    () => joining.said().includes("nobody has approved this machine yet"),
    PATIENCE_MS,
    () => `it does not wait: ${joining.said()}`,
  );
  expect(readMembership(server.dir)).toBeUndefined();
  const typed = await approve(readNode(server.dir).id, joining.words);

  expect(JSON.stringify(typed)).toContain("server");
  expect(await joining.done).toMatchObject({ code: 0 });
  expect(existsSync(nodePaths(server.dir).secrets)).toBe(true);
});
