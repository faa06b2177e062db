// SPDX-License-Identifier: Apache-2.0
/**
 * A cluster that somebody forms by hand, with what they type and nothing else: founded by `dvctl cluster init`, its units as processes
 * of their own, others let in by one-time codes that `dvctl nodes accept` makes and `debvisor-join` is given.
 */
import { readFileSync, rmSync } from "node:fs";
import { rpcSubject, SUBJECT_FILTERS } from "@debvisor/proto-events/subjects";
import { nodePaths, readMembership, readNode } from "@debvisor/shared/node-files";
import { connect, credsAuthenticator } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Machine } from "../../support/machine.ts";
import { waitFor } from "../../support/wait-for.ts";

const WRONG = "0000000000";
const PATIENCE_MS = 20_000;

let first: Machine;
let worker: Machine;
let second: Machine;

beforeAll(async () => {
  [first, worker, second] = await Promise.all([
    Machine.create("node-1"),
    Machine.create("node-2"),
    Machine.create("node-3"),
  ]);
  await first.foundAlone();
});

afterAll(async () => {
  for (const machine of [worker, second, first]) await machine?.[Symbol.asyncDispose]();
});

async function until(machine: Machine, what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await waitFor(condition, PATIENCE_MS, () => `${what}; ${machine.name} logged ${machine.log.slice(-4_000)}`);
}

/** The one-time code as the command for programs prints it. */
async function accept(...args: string[]): Promise<string> {
  const { stdout, stderr } = await first.dvctl("nodes", "accept", ...args, "--json");
  if (stdout === "") throw new Error(stderr);
  return (JSON.parse(stdout) as { code: string }).code;
}

/** Joins by asking the first machine. */
function join(machine: Machine, code: string, ...more: string[]) {
  const where = ["--address", `127.0.0.1:${first.joinPort}`, "--interface", "127.0.0.1"];
  return machine.type("debvisor-join", ["--code", code, ...where, ...machine.flags, ...more]);
}

async function members(): Promise<{ name: string; role: string; state: string; alive: string | null }[]> {
  const { stdout } = await first.dvctl("cluster", "members", "--json");
  return (JSON.parse(stdout) as { items: never[] }).items;
}

async function isActive(name: string): Promise<boolean> {
  return (await members()).some((member) => member.name === name && member.state === "active");
}

it("the first machine is a cluster that may grow", async () => {
  const { stdout } = await first.dvctl("cluster", "status", "--json");

  expect(JSON.parse(stdout)).toMatchObject({ cluster: "lab1", servers: { declared: 3, active: 1 }, workers: 0 });
  expect(await members()).toMatchObject([{ name: "node-1", role: "server", state: "active" }]);
});

it("the first machine is not founded again", async () => {
  const again = await first.dvctl("cluster", "init", "--single", "--etc", `${first.etc}-2`, "--node-dir", first.dir);

  expect(again).toMatchObject({ code: 5, stdout: "" });
  expect(again.stderr).toContain("belongs to cluster lab1 already. (CONFLICT)");
});

describe("a wrong code", () => {
  it("is refused with exit code 5, and after three the right one is void", async () => {
    const code = await accept();
    const results = [];
    for (let i = 0; i < 3; i++) results.push(await join(worker, WRONG));
    const right = await join(worker, code);

    expect(results.map((result) => result.code)).toEqual([5, 5, 5]);
    expect(results[0]?.stderr).toContain("JOIN_CODE_WRONG");
    expect(right.code).toBe(6);
    expect(right.stderr).toContain("JOIN_MODE_REFUSED");
    expect(readMembership(worker.dir)).toBeUndefined();
  });
});

describe("a worker", () => {
  it("shows that it waits, and joins with the code that is typed", async () => {
    const { id } = readNode(worker.dir);
    const code = (async () => {
      await until(first, "the machine to be pending", async () =>
        (await first.dvctl("nodes", "pending")).stdout.includes(id),
      );
      return `${await accept(id)}\n`;
    })();
    const joined = await worker.type("debvisor-join", ["--interface", "127.0.0.1", ...worker.flags], code);

    expect(joined).toMatchObject({ code: 0 });
    expect(joined.stdout).toMatch(/^cluster +lab1$/m);
    expect(joined.stdout).toMatch(new RegExp(`^letInBy +${readNode(first.dir).id}$`, "m"));
    expect(readMembership(worker.dir)?.formation).toBe(readMembership(first.dir)?.formation);
    // Nothing with which it could let others in.
    expect(() => readFileSync(nodePaths(worker.dir).secrets)).toThrow("ENOENT");
  });

  it("comes up as a member", async () => {
    worker.start("node-agent");

    await until(worker, "the worker to be active", () => isActive("node-2"));
  });

  it("leaves nothing of the code to others", async () => {
    const code = await accept();
    const once = await join(second, code, "--role", "server");
    const third = await Machine.create("node-4");
    await using _ = third;
    const twice = await join(third, code);
    // As long as it has not come up, somebody may make another one for it.
    const forTheSame = await accept(readNode(second.dir).id);
    const ofAnother = await join(third, forTheSame);

    expect(once).toMatchObject({ code: 0 });
    expect([twice.code, ofAnother.code]).toEqual([6, 6]);
    expect(twice.stderr).toContain("JOIN_MODE_REFUSED");
  });
});

describe("an integrator", () => {
  it("hears events with the credential that was made, and may do nothing else", async () => {
    const made = await first.dvctl(
      "credentials",
      "create",
      "--role",
      "event-reader",
      "--name",
      "siem",
      "--node-dir",
      first.dir,
      "--json",
    );
    const { creds, ca, busServers } = JSON.parse(made.stdout) as { creds: string; ca: string; busServers: string[] };
    const client = await connect({
      servers: busServers,
      authenticator: credsAuthenticator(new TextEncoder().encode(creds)),
      tls: { caFile: ca, handshakeFirst: true },
      inboxPrefix: "_INBOX_events-siem",
    });
    try {
      const heard: string[] = [];
      client.subscribe(SUBJECT_FILTERS.allEvents, { callback: (_error, message) => void heard.push(message.subject) });
      await client.flush();
      second.start("bus", "discovery");
      await until(first, "an event", () => heard.some((subject) => subject.endsWith("cluster.member.joined")));

      await expect(
        client.request(rpcSubject("core", "cluster", "get-cluster"), "{}", { timeout: 1_000 }),
      ).rejects.toThrow();
      await expect(client.request("$JS.API.INFO", "", { timeout: 1_000 })).rejects.toThrow();
    } finally {
      await client.close();
    }
  });
});

it("a server that was let in takes part in the bus", async () => {
  await until(second, "the second server to be active", () => isActive("node-3"));
  expect(readMembership(second.dir)?.server?.routes).toHaveLength(2);
});

describe("a machine that is reset", () => {
  it("has to be stopped first, and joins as a new node", async () => {
    const { id } = readNode(worker.dir);
    const reset = (which: string) =>
      worker.dvctl("nodes", "reset", "--confirm", which, "--node-dir", worker.dir, "--etc", worker.etc);
    const running = await reset(id);
    await worker.stop();
    const other = await reset(readNode(first.dir).id);
    const done = await reset(id);

    expect(running).toMatchObject({ code: 5 });
    expect(running.stderr).toContain("services/node-agent/main.ts");
    expect(other).toMatchObject({ code: 2, stdout: "" });
    expect(done).toMatchObject({ code: 0 });
    expect(done.stdout).toContain(nodePaths(worker.dir).membership);

    const taken = await join(worker, await accept());
    const joined = await join(worker, await accept(), "--name", "node-5");

    expect(taken).toMatchObject({ code: 5 });
    expect(taken.stderr).toContain("NODE_NAME_TAKEN");
    expect(joined).toMatchObject({ code: 0 });
    expect(readNode(worker.dir).id).not.toBe(id);
  });
});

it("a machine that was removed is let in under its key no more", async () => {
  const { id } = readNode(worker.dir);
  worker.start("node-agent");
  await until(worker, "the worker to be active", () => isActive("node-5"));
  await worker.stop();
  const removed = await first.dvctl("nodes", "remove", "node-5", "--reason", "sold", "--wait=30s", "--confirm");
  // What it was given is gone, its key is not: it asks as the same machine.
  rmSync(nodePaths(worker.dir).membership);
  const made = await first.dvctl("nodes", "accept", id);
  const refused = await join(worker, await accept(), "--name", "node-6");

  expect(removed).toMatchObject({ code: 0 });
  expect(made.stderr).toContain("MEMBER_REMOVED");
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain("MEMBER_REMOVED");
});
