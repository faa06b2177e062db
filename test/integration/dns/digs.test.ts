// SPDX-License-Identifier: Apache-2.0
/** Digs that stay, against a real BIND: what they answer, how many there are, and what becomes of those that fail. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Digs } from "../../../services/dns/drivers/bind/digs.ts";
import { type Bind, createBind, type Endpoint } from "../../../services/dns/drivers/bind.ts";
import { readReplies } from "../../../services/dns/drivers/bind-output.ts";
import { startBind, type TestBind } from "../../support/bind.ts";
import { waitFor } from "../../support/wait-for.ts";
import { lacking } from "./rig.ts";

const ZONE = "debvisor.local";
const ANSWER_MS = 1_000;

describe.skipIf(lacking.length > 0)("digs that stay", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "debvisor-digs-"));
  let named: TestBind;
  let bind: Bind;
  let ns1: Endpoint;

  beforeAll(async () => {
    named = await startBind({ zones: [ZONE], secondary: false });
    bind = createBind({ folder: path.join(folder, "keys"), answerMs: ANSWER_MS });
    const { name, secret } = named.key;
    const key = { name, algorithm: "hmac-sha256", secret };
    ns1 = { name: "ns1", address: "127.0.0.1", port: named.primary.port, key };
  });
  afterAll(async () => {
    for (const { pid } of digs()) process.kill(pid, "SIGKILL");
    await named[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const soa = () => bind.query(ns1, [{ name: ZONE, type: "SOA" }]);

  test("answer question after question in one process, which knows the key from a file that is gone", async () => {
    const one = await soa();
    const running = digs();
    const more = await bind.query(ns1, [
      { name: `ns1.${ZONE}`, type: "A" },
      { name: `none.${ZONE}`, type: "A" },
      { name: ZONE, type: "SOA" },
    ]);

    expect(one).toMatchObject([{ status: "NOERROR", authoritative: true, records: [{ type: "SOA" }] }]);
    expect(more.map(({ status, records }) => [status, records.map(({ data }) => data)])).toEqual([
      ["NOERROR", ["127.0.0.1"]],
      ["NXDOMAIN", []],
      ["NOERROR", one[0]?.records.map(({ data }) => data)],
    ]);
    expect(running).toHaveLength(1);
    expect(digs()).toEqual(running);
    expect(readdirSync(path.join(folder, "keys"))).toEqual([]);
    expect(running[0]?.commandLine).not.toContain(named.key.secret);
  });

  test("answer as a dig does that is started for one question", async () => {
    const texts = [
      '"no servers could be reached"',
      '";; MSG SIZE  rcvd: 3"',
      String.raw`"a\"b\\c\000\010;x"`,
      '"x" "y"',
    ];
    await named.nsupdate(ZONE, ...texts.map((text) => `update add hard.${ZONE}. 60 TXT ${text}`));
    const { stdout } = await new Digs({ folder, args: ["+time=1"], restMs: 0 }).ask(
      null,
      [`@127.0.0.1 -p ${ns1.port} +norecurse +noedns -q hard.${ZONE}. -t TXT`],
      { timeoutMs: 5_000 },
    );

    const [reply] = readReplies(stdout);
    expect(reply?.records.map(({ data }) => data).sort()).toEqual(await named.dig(`hard.${ZONE}`, "TXT"));
    expect(reply?.records).toHaveLength(texts.length);
  });

  test("sign by the key that is asked with, and by no other that is there", async () => {
    const { name, secret } = named.strange("strange");
    const strange = { ...ns1, key: { name, algorithm: "hmac-sha256", secret } };
    const question = [{ name: ZONE, type: "SOA" }];
    const kinds = [ns1, strange, { ...ns1, key: null }];

    const replies: string[] = [];
    for (const endpoint of [...kinds, ...kinds, ...kinds]) {
      const [reply] = await bind.query(endpoint, question);
      replies.push(`${reply?.status} ${reply?.records.length}`);
    }

    const wanted = ["NOERROR 1", "NOTAUTH 0", "NOERROR 1"];
    expect(replies).toEqual([...wanted, ...wanted, ...wanted]);
    expect(
      digs()
        .map(({ commandLine }) => / -k /.test(commandLine))
        .sort(),
    ).toEqual([false, true, true]);
  });

  test("are few, however many questions come at once", async () => {
    const replies = await Promise.all(Array.from({ length: 60 }, soa));

    expect(replies.every(([reply]) => reply?.status === "NOERROR")).toBe(true);
    await waitFor(
      () => digs().length <= 4,
      10_000,
      () => `${digs().length} digs stay`,
    );
  });

  test("are replaced where they were killed", async () => {
    await soa();
    for (const { pid } of digs()) process.kill(pid, "SIGKILL");
    await waitFor(
      () => digs().length === 0,
      10_000,
      () => "they live",
    );

    expect(await soa()).toMatchObject([{ status: "NOERROR" }]);
  });

  test("end when nothing is asked any more", async () => {
    for (const { pid } of digs()) process.kill(pid, "SIGKILL");
    const few = new Digs({ folder, args: [], restMs: 50 });
    await few.ask(null, [`@127.0.0.1 -p ${ns1.port} -q ${ZONE}. -t SOA`], { timeoutMs: 5_000 });

    await waitFor(
      () => digs().length === 0,
      10_000,
      () => "it stays",
    );
  });

  test("that get no answer are over at the first question, and the others go on", async () => {
    named.primary.signal("SIGSTOP");
    const startedAt = performance.now();
    const questions = Array.from({ length: 5 }, () => ({ name: ZONE, type: "SOA" }));
    const lost = bind.query(ns1, questions);
    await expect(lost).rejects.toMatchObject({ code: "DNS_UNREACHABLE" });
    expect(performance.now() - startedAt).toBeLessThan(2 * ANSWER_MS + 2_000);
    named.primary.signal("SIGCONT");

    expect(await soa()).toMatchObject([{ status: "NOERROR" }]);
    await named.primary.stop();
    await expect(soa()).rejects.toMatchObject({ code: "DNS_UNREACHABLE", message: expect.stringContaining("refused") });
    await named.primary.start();
    expect(await soa()).toMatchObject([{ status: "NOERROR" }]);
  });

  test("are not needed for a whole zone, in one message or in many", async () => {
    const odd = String.raw`\059\059\032msg.${ZONE}`;
    await named.nsupdate(ZONE, `update add ${odd}. 60 TXT odd`);
    const few = await bind.transfer(ns1, ZONE);
    for (const part of ["a", "b", "c"]) {
      const names = Array.from({ length: 600 }, (_, i) => `${part}${i}.${ZONE}`);
      await named.nsupdate(ZONE, ...names.map((name) => `update add ${name}. 60 TXT ${"x".repeat(40)}`));
    }
    const many = await bind.transfer(ns1, ZONE);

    expect(few.find(({ data }) => data === '"odd"')?.name).toBe(String.raw`\;\;\032msg.${ZONE}`);
    expect(new Set(many.map(({ name }) => name)).size).toBe(1_800 + new Set(few.map(({ name }) => name)).size);
    await expect(bind.transfer({ ...ns1, key: null }, ZONE)).rejects.toMatchObject({ code: "DNS_REFUSED" });
  });

  test("are asked nothing that is not one name", async () => {
    for (const name of [`a b.${ZONE}`, `a\n-q ${ZONE}`, `ä.${ZONE}`])
      await expect(bind.query(ns1, [{ name, type: "A" }])).rejects.toMatchObject({ code: "DNS_RECORD_INVALID" });
  });
});

/** The runs of dig that this process has started. */
function digs(): { readonly pid: number; readonly commandLine: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [, parent] = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
        const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return Number(parent) === process.pid && commandLine.startsWith("/usr/bin/dig ")
          ? [{ pid: Number(pid), commandLine }]
          : [];
      } catch {
        return []; // It has ended meanwhile.
      }
    });
}
