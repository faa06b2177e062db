// SPDX-License-Identifier: Apache-2.0
/** The node's ledger: repeats, late orders, undo, a killed process between effect and answer, damage, forgetting. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Order } from "../bus/bus.ts";
import { type Clock, systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { silentLogger } from "../log.ts";
import { type Ledger, type LedgerActions, openLedger } from "./ledger.ts";

const log = silentLogger();
const DAY_MS = 86_400_000;

const order = (change: Partial<Order> = {}): Order => ({
  operation: "op-a",
  step: "write",
  direction: "do",
  epoch: 1,
  resource: "node/n/file//etc/motd",
  fence: 10,
  ...change,
});

/** A world of one value, and what was called. */
class World {
  value = "old";
  readonly calls: string[] = [];
  failures = 0;

  to(target: string): LedgerActions<string, string> {
    const act = (name: string, value: string) => {
      this.calls.push(`${name} ${value}`);
      if (this.failures-- > 0) return Promise.reject(new DvError("TOOL_FAILED", "The disk is full."));
      this.value = value;
      return Promise.resolve(`${name} ${value}`);
    };
    return {
      before: () => {
        this.calls.push("before");
        return this.value;
      },
      apply: () => act("apply", target),
      undo: (before) => act("undo", before),
      nothing: () => "nothing",
    };
  }
}

function folder(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-ledger-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function open(file = path.join(folder(), "ledger.db"), clock: Clock = systemClock): Ledger {
  const ledger = openLedger(file, { log, clock });
  onTestFinished(() => ledger.close());
  return ledger;
}

const code = (action: Promise<unknown>) =>
  action.then(
    () => "done",
    (error: unknown) => (error instanceof DvError ? error.code : String(error)),
  );

test("a repeated order is answered with what is recorded and does nothing", async () => {
  const [ledger, world] = [open(), new World()];

  const first = await ledger.execute(order(), world.to("new"));
  world.value = "changed by somebody else";
  const again = await ledger.execute(order({ epoch: 2 }), world.to("new"));

  expect([first, again]).toEqual(["apply new", "apply new"]);
  expect(world.calls).toEqual(["before", "apply new"]);
  expect(world.value).toBe("changed by somebody else");
});

test("the same order twice at once is carried out once", async () => {
  const [ledger, world] = [open(), new World()];

  const answers = await Promise.all([1, 2, 3].map(() => ledger.execute(order(), world.to("new"))));

  expect(answers).toEqual(["apply new", "apply new", "apply new"]);
  expect(world.calls).toEqual(["before", "apply new"]);
});

test("an order after a failure applies again, with the state of before the first attempt", async () => {
  const [ledger, world] = [open(), new World()];
  world.failures = 1;

  const failed = await code(ledger.execute(order(), world.to("new")));
  const noted = ledger.entries("op-a");
  world.value = "half";
  await ledger.execute(order(), world.to("new"));
  await ledger.execute(order({ direction: "undo" }), world.to("new"));

  expect(failed).toBe("TOOL_FAILED");
  expect(noted).toMatchObject([{ state: "started", before: "old", error: "TOOL_FAILED: The disk is full." }]);
  expect(world.calls).toEqual(["before", "apply new", "apply new", "undo old"]);
  expect(world.value).toBe("old");
  expect(ledger.entries("op-a")).toMatchObject([{ state: "undone", error: null, result: "undo old" }]);
});

test("an undo that failed is repeated, and one that succeeded is answered from the record", async () => {
  const [ledger, world] = [open(), new World()];
  await ledger.execute(order(), world.to("new"));
  world.failures = 1;

  expect(await code(ledger.execute(order({ direction: "undo" }), world.to("new")))).toBe("TOOL_FAILED");
  expect(ledger.entries("op-a")).toMatchObject([{ state: "undoing" }]);
  expect(await code(ledger.execute(order(), world.to("new")))).toBe("COMMAND_FENCED");
  expect(await ledger.execute(order({ direction: "undo" }), world.to("new"))).toBe("undo old");
  expect(await ledger.execute(order({ direction: "undo" }), world.to("new"))).toBe("undo old");

  expect(world.calls).toEqual(["before", "apply new", "undo old", "undo old"]);
});

test("undoing what never began does nothing, and the order that comes late is refused", async () => {
  const [ledger, world] = [open(), new World()];

  expect(await ledger.execute(order({ direction: "undo" }), world.to("new"))).toBe("nothing");
  expect(await ledger.execute(order({ direction: "undo" }), world.to("new"))).toBe("nothing");

  expect(await code(ledger.execute(order(), world.to("new")))).toBe("COMMAND_FENCED");
  expect(world.calls).toEqual([]);
});

test("an order of an older epoch, or of an older fence of the resource, is refused in both directions", async () => {
  const [ledger, world] = [open(), new World()];
  await ledger.execute(order({ epoch: 3, fence: 20 }), world.to("new"));

  const refused = await Promise.all(
    [
      order({ epoch: 2, fence: 20, step: "other" }),
      order({ epoch: 2, fence: 20 }),
      order({ epoch: 2, fence: 20, direction: "undo" }),
      order({ operation: "op-b", epoch: 1, fence: 19 }),
      order({ operation: "op-b", epoch: 1, fence: 19, direction: "undo" }),
    ].map((late) => code(ledger.execute(late, world.to("late")))),
  );
  const allowed = await Promise.all(
    [
      order({ operation: "op-b", epoch: 1, fence: 21 }),
      order({ operation: "op-c", epoch: 1, fence: null, resource: null }),
      order({ operation: "op-d", epoch: 1, fence: 1, resource: "another" }),
    ].map((good) => code(ledger.execute(good, world.to("good")))),
  );

  expect(refused).toEqual(refused.map(() => "COMMAND_FENCED"));
  expect(allowed).toEqual(["done", "done", "done"]);
  expect(await code(ledger.execute(order({ epoch: 3, fence: 20 }), world.to("new")))).toBe("COMMAND_FENCED");
});

test("an owner who is overtaken while the state before is captured does not begin", async () => {
  const [ledger, world] = [open(), new World()];
  const captured = Promise.withResolvers<string>();
  const slow = ledger.execute(order({ epoch: 1 }), { ...world.to("late"), before: () => captured.promise });

  await ledger.execute(order({ epoch: 2, step: "other" }), world.to("new"));
  captured.resolve("old");

  expect(await code(slow)).toBe("COMMAND_FENCED");
  expect(world.value).toBe("new");
});

/** Answers each call by a line, and hangs in the action named by its first argument after its effect. */
const CHILD = `
import { openLedger } from ${JSON.stringify(new URL("./ledger.ts", import.meta.url).href)};
import { silentLogger } from ${JSON.stringify(new URL("../log.ts", import.meta.url).href)};
import { readFileSync, writeFileSync } from "node:fs";
const [file, world, hangIn, direction] = process.argv.slice(1);
const clock = { now: () => Date.now() };
const ledger = openLedger(file, { log: silentLogger(), clock });
const act = (name, value) => {
  writeFileSync(world, value);
  if (name !== hangIn) return Promise.resolve(name + " " + value);
  process.stdout.write("effect\\n");
  setInterval(() => undefined, 1_000);
  return new Promise(() => undefined);
};
const order = { operation: "op-a", step: "write", direction, epoch: 1, resource: null, fence: null };
process.stdout.write(await ledger.execute(order, {
  before: () => readFileSync(world, "utf8"),
  apply: () => act("apply", "new"),
  undo: (before) => act("undo", before),
  nothing: () => "nothing",
}) + "\\n");
ledger.close();
`;

/** Runs the child until it has written a line; kills it with SIGKILL when it hangs. */
async function run(file: string, world: string, hangIn: "apply" | "undo" | "none", direction: "do" | "undo") {
  const args = ["--input-type=module", "-e", CHILD, file, world, hangIn, direction];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const [line] = await Promise.race([once(child.stdout, "data"), exited.then(() => ["no line"])]);
  if (hangIn !== "none") child.kill("SIGKILL");
  await exited;
  return String(line).trim();
}

test("a process killed between the effect and the answer leaves what the next one needs to go on and to go back", async () => {
  const dir = folder();
  const [file, world] = [path.join(dir, "ledger.db"), path.join(dir, "world")];
  writeFileSync(world, "old");
  const states = () => {
    const ledger = openLedger(file, { log, clock: systemClock });
    const entries = ledger.entries("op-a").map(({ state, before }) => [state, before]);
    ledger.close();
    return entries;
  };

  expect(await run(file, world, "apply", "do")).toBe("effect");
  expect(states()).toEqual([["started", "old"]]);
  expect(await run(file, world, "none", "do")).toBe("apply new");
  expect(states()).toEqual([["done", "old"]]);
  expect(await run(file, world, "undo", "undo")).toBe("effect");
  expect(states()).toEqual([["undoing", "old"]]);
  expect(await run(file, world, "none", "undo")).toBe("undo old");

  expect(states()).toEqual([["undone", "old"]]);
  expect(readFileSync(world, "utf8")).toBe("old");
}, 30_000);

test("steps, epochs and fences older than 45 days are forgotten when it is opened, younger ones are not", async () => {
  const file = path.join(folder(), "ledger.db");
  const world = new World();
  const at = (days: number): Clock => ({ ...systemClock, now: () => days * DAY_MS });
  const first = open(file, at(0));
  await first.execute(order({ epoch: 5 }), world.to("new"));
  first.close();
  const second = open(file, at(30));
  await second.execute(order({ operation: "op-b", resource: "other", fence: 7 }), world.to("new"));
  expect(await code(second.execute(order({ epoch: 4 }), world.to("new")))).toBe("COMMAND_FENCED");
  second.close();

  const third = open(file, at(46));

  expect(third.entries("op-a")).toEqual([]);
  expect(third.entries("op-b")).toHaveLength(1);
  expect(await code(third.execute(order({ operation: "op-c", resource: "other", fence: 6 }), world.to("x")))).toBe(
    "COMMAND_FENCED",
  );
  expect(await code(third.execute(order({ epoch: 1, fence: 1 }), world.to("again")))).toBe("done");
});

test("epoch and fence of an operation are kept for as long as one of its steps is", async () => {
  const file = path.join(folder(), "ledger.db");
  const world = new World();
  const at = (days: number): Clock => ({ ...systemClock, now: () => days * DAY_MS });
  for (const [step, days] of [
    ["first", 0],
    ["second", 40],
  ] as const) {
    const ledger = open(file, at(days));
    await ledger.execute(order({ step, epoch: 5 }), world.to("new"));
    ledger.close();
  }

  const later = open(file, at(46));

  expect(later.entries("op-a").map(({ step }) => step)).toEqual(["second"]);
  expect(await code(later.execute(order({ step: "third", epoch: 4 }), world.to("x")))).toBe("COMMAND_FENCED");
  expect(await code(later.execute(order({ operation: "op-b", fence: 9 }), world.to("x")))).toBe("COMMAND_FENCED");
});

test("a state before that is too large is refused before anything happens", async () => {
  const [ledger, world] = [open(), new World()];
  world.value = "x".repeat(1024 * 1024);

  expect(await code(ledger.execute(order(), world.to("new")))).toBe("INTERNAL");

  expect(world.calls).toEqual(["before"]);
  expect(ledger.entries("op-a")).toEqual([]);
});

test("an answer of undefined and a state of null come back as they were", async () => {
  const ledger = open();
  const seen: unknown[] = [];
  const actions: LedgerActions<null, undefined> = {
    before: () => null,
    apply: (before) => Promise.resolve(void seen.push(before)) as Promise<undefined>,
    undo: (before) => Promise.resolve(void seen.push(before)) as Promise<undefined>,
    nothing: () => undefined,
  };

  const answers = [
    await ledger.execute(order(), actions),
    await ledger.execute(order(), actions),
    await ledger.execute(order({ direction: "undo" }), actions),
  ];

  expect(answers).toEqual([undefined, undefined, undefined]);
  expect(seen).toEqual([null, null]);
});

test.for([
  ["a file that is no database", (bytes: Buffer) => Buffer.concat([Buffer.from("garbage"), bytes.subarray(7)])],
  ["pages that were overwritten", (bytes: Buffer) => Buffer.from(bytes).fill(0x5a, 100, 8_192)],
] as const)("%s is reported as damage", async ([, damage]) => {
  const file = path.join(folder(), "ledger.db");
  const ledger = open(file);
  await ledger.execute(order(), new World().to("new"));
  ledger.close();
  writeFileSync(file, damage(readFileSync(file)));

  const opened = () => openLedger(file, { log, clock: systemClock });

  expect(opened).toThrow(expect.objectContaining({ code: "DATA_FOLDER_CORRUPT" }));
});

test("its file is readable for its owner only", () => {
  const file = path.join(folder(), "state", "ledger.db");

  open(file);

  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("an order to a ledger that was closed changes nothing", async () => {
  const [ledger, world] = [open(), new World()];
  ledger.close();

  expect(await code(ledger.execute(order(), world.to("new")))).toBe("UNAVAILABLE");

  expect(world.value).toBe("old");
});
