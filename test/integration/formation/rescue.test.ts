// SPDX-License-Identifier: Apache-2.0
/**
 * Two of three servers are gone for ever, and the third goes on alone: machines in network namespaces, each with the programs of the
 * units, and the command as it is typed. Kills at each step are in test/soak/rescue.test.ts.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { nodePaths } from "@debvisor/shared/node-files";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Formation, startFormation } from "../../support/formation.ts";
import { lanLacks } from "../../support/lan-namespaces.ts";
import type { Machine } from "../../support/node-machine.ts";
import { boot, startMachine, startUnits, untilMember } from "../../support/node-machines.ts";
import {
  dvctl,
  idOf,
  journalOf,
  killedRescue,
  loseMachine,
  rescue,
  stopTarget,
  type,
  untilReplicated,
  writeContext,
} from "../../support/rescue.ts";
import { waitFor } from "../../support/wait-for.ts";

const lacking = lanLacks();
const OFF = ["m2", "m3"];
/** Join port of the survivor. */
const JOIN = "10.77.0.1:8422";
const PATIENCE_MS = 40_000;
/** Services of a server with users of their own on the bus, and the users that core parts have besides. */
const SERVICES = 4;
/** Who is connected to the nats-server of a machine. */
const CONNECTIONS = "exec 3<>/dev/tcp/127.0.0.1/8222 && printf 'GET /connz HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";

describe.skipIf(lacking.length > 0)(`a lone survivor (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let formation: Formation;
  let survivor: Machine;
  let second: Machine;
  let third: Machine;
  const written: string[] = [];

  beforeAll(async () => {
    formation = await startFormation({ hosts: 4 });
    [survivor, second, third] = (await formation.addAll(0, 1, 2)) as [Machine, Machine, Machine];
    await formation.untilWritable([survivor, second, third]);
    writeContext(formation, survivor);
    for (const machine of [survivor, second, third]) await formation.untilMembers(machine, ["m1", "m2", "m3"]);
    await untilReplicated(formation);
    for (const machine of [second, third, survivor]) written.push(await formation.key.write(machine));
  }, 90_000);
  afterAll(() => formation[Symbol.asyncDispose]());

  /** What a refused rescue says; it has to leave nothing. */
  async function refusal(off: readonly string[]): Promise<string> {
    const { code, stderr } = await rescue(survivor, off, "--confirm");
    expect(existsSync(journalOf(survivor))).toBe(false);
    return `${code} ${stderr}`;
  }

  test("is refused while the servers have a leader, or one of the others can be reached", async () => {
    expect(await refusal(OFF)).toMatch(/^6 .*have a leader.*RESCUE_REFUSED/s);
    await stopTarget(survivor);
    expect(await refusal(OFF)).toMatch(/^6 .*are a majority, and m2 .*, m3 .*RESCUE_REFUSED/s);
    await loseMachine(formation, second);
    expect(await refusal(OFF)).toMatch(/^6 .*are a majority, and m3 .*RESCUE_REFUSED/s);
    await loseMachine(formation, third);
  }, 60_000);

  test("is refused when not every other server is declared off, and while its own network is down", async () => {
    expect(await refusal(["m2"])).toMatch(/^6 .*Not declared off with --off.*: m3 /s);
    await formation.lan.link(survivor.host, "down");
    expect(await refusal(OFF)).toMatch(/^6 .*The network of this machine is down/s);
    await formation.lan.link(survivor.host, "up");
  }, 60_000);

  test("shows its plan and changes nothing without --confirm", async () => {
    const before = readdirSync(survivor.nodeDir);
    const { code, stdout, stderr } = await rescue(survivor, OFF);

    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining("add --confirm") });
    expect(stdout).toMatch(/^off +m2,m3$/m);
    expect(readdirSync(survivor.nodeDir)).toEqual(before);
  });

  test("goes on after a kill, and has all that was acknowledged", { timeout: 90_000 }, async () => {
    await killedRescue(survivor, OFF, "group");
    expect(existsSync(journalOf(survivor))).toBe(true);
    expect(await rescue(survivor, ["m2"], "--confirm")).toMatchObject({ code: 5 });

    const startedAt = performance.now();
    const done = await dvctl(survivor, "cluster", "rescue", "--confirm", "--node-dir", survivor.nodeDir, "--json");
    expect(done.code, done.stderr).toBe(0);
    const { firstWriteMs, copy } = JSON.parse(done.stdout) as { firstWriteMs: number; copy: string };
    process.stdout.write(
      `[INFO] rescue: first write acknowledged ${firstWriteMs} ms after its start, done after ${Math.round(performance.now() - startedAt)} ms\n`,
    );
    expect(existsSync(journalOf(survivor))).toBe(false);
    expect(existsSync(copy)).toBe(true);

    await startUnits(survivor);
    await formation.untilWritable([survivor], PATIENCE_MS);
    process.stdout.write(
      `[INFO] rescue: writable by its gateway ${Math.round(performance.now() - startedAt)} ms after its start\n`,
    );
    written.push(await formation.key.write(survivor));
    const { stdout } = await dvctl(survivor, "tokens", "list", "--json");
    const ids = (JSON.parse(stdout) as { items: { id: string }[] }).items.map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(written));
    expect(await formation.key.members(survivor)).toEqual(["m1"]);
    expect(await formation.key.members(survivor, "removed")).toEqual(OFF);
  });

  test("is a cluster of one, and says in events and in the audit trail what was done", async () => {
    const cluster = JSON.parse((await dvctl(survivor, "cluster", "status", "--json")).stdout) as Record<
      string,
      unknown
    >;
    expect(cluster).toMatchObject({ servers: { declared: 1, active: 1 }, unattendedUntil: null });
    const { stdout } = await dvctl(survivor, "audit", "list", "--action", "cluster.rescue", "--json");
    const kinds = (JSON.parse(stdout) as { items: { kind: string; reason: string }[] }).items;
    expect(kinds.map(({ kind }) => kind).sort()).toEqual(["intent", "outcome"]);
    expect(kinds[0]).toMatchObject({ reason: "fire in room 2" });
  }, 30_000);

  test("does not let in one that was declared off when it comes back with its disk", async () => {
    await formation.lan.link(second.host, "up");
    await boot(second);
    const seen = () => serverLog(survivor).filter((line) => line.includes(` ${second.address()}:`));
    const isRefused = (what: RegExp) => () => seen().some((line) => what.test(line));
    // Its server is no server of this cluster, ...
    await waitFor(isRefused(/Router connection closed: Authentication Failure/), PATIENCE_MS, () => second.tail());
    // ... and without it its services turn to the survivor, whose users they are no more.
    await second.unit("nats").stop();
    const users = () => new Set(seen().flatMap((line) => /Nkey "(U[A-Z0-9]+)"/.exec(line)?.[1] ?? []));
    await waitFor(
      () => users().size >= SERVICES,
      PATIENCE_MS,
      () => `refused: ${[...users()].join()}; ${seen().slice(-5).join("\n")}; ${second.tail()}`,
    );

    const { stdout } = await survivor.exec(["bash", "-c", CONNECTIONS]);
    expect(stdout).toContain('"num_connections"');
    expect(stdout).not.toContain(second.address());
    expect(await formation.key.members(survivor)).toEqual(["m1"]);
  }, 90_000);

  test("takes a fresh machine in once it may grow", { timeout: 60_000 }, async () => {
    expect(await dvctl(survivor, "cluster", "grow", "3", "--wait=20s", "--confirm")).toMatchObject({ code: 0 });
    const fresh = await startMachine(formation.lan, 3, { files: { "gateway.yaml": formation.key.gatewayYaml } });
    formation.machines.push(fresh);
    const { stdout } = await dvctl(survivor, "nodes", "accept", "--json");
    const { code } = JSON.parse(stdout) as { code: string };
    const joined = await type(
      fresh,
      "debvisor-join",
      ...["--code", code, "--role", "server", "--address", JOIN],
      ...["--node-dir", fresh.nodeDir],
    );
    expect(joined).toMatchObject({ code: 0 });
    await untilMember(fresh, PATIENCE_MS);
    await formation.untilMembers(survivor, ["m1", "m4"], PATIENCE_MS);
  });

  test("takes in one that was lost, as a new node, once it was reset", { timeout: 60_000 }, async () => {
    const before = idOf(second);
    const asks = async () => {
      const { stdout } = await dvctl(survivor, "nodes", "accept", "--json");
      const { code } = JSON.parse(stdout) as { code: string };
      return await type(second, "debvisor-join", "--code", code, "--address", JOIN, "--node-dir", second.nodeDir);
    };
    await stopTarget(second);
    expect(await asks()).toMatchObject({ code: 5 });
    const reset = await dvctl(second, "nodes", "reset", before, "--confirm", "--node-dir", second.nodeDir);
    expect(reset.code, reset.stderr).toBe(0);
    const joined = await asks();

    expect(joined.code, joined.stderr).toBe(0);
    expect(idOf(second)).not.toBe(before);
  });
});

function serverLog(machine: Machine): string[] {
  return readFileSync(`${nodePaths(machine.nodeDir).nats}/nats-server.log`, "utf8").split("\n");
}
