// SPDX-License-Identifier: Apache-2.0
/** Changes of single files, on a real folder: what is written, what is refused, and that an undo leaves no trace. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FileStep } from "../model/file-step.ts";
import { createHostFileWriter, type HostFileWriter, type WantedFile } from "./host-files-write.ts";

let base: string;
let root: string;
let files: HostFileWriter;
let operations = 0;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "dv-files-"));
  root = join(base, "root");
  mkdirSync(join(root, "etc"), { recursive: true });
  files = createHostFileWriter({ root, ownDir: join(base, "state") });
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const text = (content: string, more: Partial<WantedFile> = {}): WantedFile => ({
  content: Buffer.from(content),
  mode: null,
  owner: null,
  group: null,
  ...more,
});

const stamp = (timeMs = Date.UTC(2026, 0, 2, 3, 4, 5)) => ({
  operation: `op-${String(operations++)
    .padStart(13, "a")
    .replace(/\d/g, (digit) => "abcdefghij"[Number(digit)] ?? "")}`,
  step: "write",
  timeMs,
});

async function change(path: string, wanted: WantedFile | null, timeMs?: number): Promise<FileStep> {
  const step = await files.prepare(path, wanted, stamp(timeMs));
  await files.apply(step, wanted?.content);
  return step;
}

/** Everything about a folder that a person could notice. */
function snapshot(folder = join(root, "etc")): unknown {
  return readdirSync(folder, { encoding: "latin1" })
    .sort()
    .map((name) => {
      const file = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, "latin1")]);
      const { mode, uid, gid, mtimeMs, nlink, ino } = lstatSync(file);
      return { name, mode, uid, gid, mtimeMs, nlink, ino, content: readFileSync(file, "hex") };
    });
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error: unknown) => (error as { code?: string }).code,
  );

describe("a change of a file", () => {
  it("makes a new file with mode 0644 of the agent's user, and no backup", async () => {
    const step = await change("/etc/motd", text("hello"));

    expect(step).toMatchObject({ before: null, backup: null, after: { mode: "0644", sizeBytes: 5 } });
    expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("hello");
    expect(statSync(join(root, "etc/motd")).mode & 0o7777).toBe(0o644);
    expect(readdirSync(join(root, "etc"))).toEqual(["motd"]);
  });

  it("keeps mode and owner of what it replaces, and what it replaces as a backup with the time in its name", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    chmodSync(join(root, "etc/motd"), 0o640);

    const step = await change("/etc/motd", text("new"));

    expect(step.backup).toMatch(/^motd\.dv-backup-20260102T030405Z-[a-z]{13}$/);
    expect(readFileSync(join(root, "etc", step.backup ?? ""), "utf8")).toBe("old");
    expect(statSync(join(root, "etc/motd")).mode & 0o7777).toBe(0o640);
    expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("new");
  });

  it("writes nothing and keeps no backup when content, mode and owner are as wanted", async () => {
    await change("/etc/motd", text("same", { mode: "0600" }));
    const before = snapshot();

    const step = await change("/etc/motd", text("same", { mode: "600" }));

    expect(step).toMatchObject({ backup: null, before: step.after });
    expect(snapshot()).toEqual(before);
  });

  it("sets the mode with its special bits after the owner, who would clear them", async () => {
    await change("/etc/tool", text("#!/bin/sh\n", { mode: "2755" }));

    expect(statSync(join(root, "etc/tool")).mode & 0o7777).toBe(0o2755);
  });

  it("sets owner and group by name or number, as far as this user may", async () => {
    const isRoot = process.getuid?.() === 0;
    const wanted = isRoot ? [65534, 12345] : [process.getuid?.(), process.getgid?.()];
    const step = await change(
      "/etc/motd",
      text("x", { owner: isRoot ? "nobody" : `${wanted[0]}`, group: `${wanted[1]}` }),
    );

    const { uid, gid } = statSync(join(root, "etc/motd"));
    expect([uid, gid]).toEqual(wanted);
    if (isRoot) expect(step.after).toMatchObject({ owner: "nobody", group: "12345" });
  });

  it("refuses an owner that the host does not have before anything is written", async () => {
    expect(await code(change("/etc/motd", text("x", { owner: "nosuchuser" })))).toBe("INVALID_ARGUMENT");
    expect(await code(change("/etc/motd", text("x", { group: "4294967295" })))).toBe("INVALID_ARGUMENT");
    expect(readdirSync(join(root, "etc"))).toEqual([]);
  });

  it("removes a file and keeps it as a backup; removing what is not there changes nothing", async () => {
    writeFileSync(join(root, "etc/motd"), "old");

    const step = await change("/etc/motd", null);
    const again = await change("/etc/motd", null);

    expect(readdirSync(join(root, "etc"))).toEqual([step.backup]);
    expect(again).toMatchObject({ before: null, after: null, backup: null });
  });

  it("keeps the newest 30 backups of that file and touches no other name, not even one that is no UTF-8", async () => {
    const strange = Buffer.concat([Buffer.from(`${root}/etc/`), Buffer.from([0x6d, 0xff, 0xfe])]);
    writeFileSync(strange, "?");
    writeFileSync(join(root, "etc/motd.dv-backup-note"), "a person's");
    writeFileSync(join(root, "etc/other.dv-backup-20200101T000000Z-aaaaaaaaaaaaa"), "of another file");
    for (let i = 0; i < 33; i++) await change("/etc/motd", text(`content ${i}`), Date.UTC(2026, 0, 1, 0, 0, i));

    const names = readdirSync(join(root, "etc"));
    const backups = names.filter((name) => /^motd\.dv-backup-2026/.test(name)).sort();
    expect(backups).toHaveLength(30);
    expect(backups[0]).toContain("20260101T000003Z");
    expect(names.filter((name) => !backups.includes(name))).toHaveLength(4);
    expect(readFileSync(strange, "utf8")).toBe("?");
  });

  it("keeps its own backup although the clock went back", async () => {
    for (let i = 0; i < 31; i++) await change("/etc/motd", text(`content ${i}`), Date.UTC(2026, 0, 1, 0, 0, i));

    const step = await change("/etc/motd", text("late"), Date.UTC(2020, 0, 1));
    await files.undo(step);

    expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("content 30");
  });

  it("carries any bytes, up to the largest content", async () => {
    const content = Buffer.alloc(256 * 1024, Buffer.from([0, 255, 10, 128]));

    await change("/etc/blob", { ...text(""), content });

    expect(readFileSync(join(root, "etc/blob")).equals(content)).toBe(true);
  });
});

describe("an undo", () => {
  it("leaves the folder exactly as it was: content, mode, owner, times, the very same file", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    chmodSync(join(root, "etc/motd"), 0o604);
    if (process.getuid?.() === 0) chownSync(join(root, "etc/motd"), 1234, 4321);
    utimesSync(join(root, "etc/motd"), 1_000, 2_000);
    const before = snapshot();

    const replaced = await change("/etc/motd", text("new", { mode: "0755", owner: String(process.getuid?.()) }));
    await files.undo(replaced);
    await files.undo(replaced);
    expect(snapshot()).toEqual(before);

    const removed = await change("/etc/motd", null);
    await files.undo(removed);
    expect(snapshot()).toEqual(before);
  });

  it("takes a new file away again", async () => {
    const step = await change("/etc/motd", text("new"));

    await files.undo(step);

    expect(readdirSync(join(root, "etc"))).toEqual([]);
  });

  it("puts back a copy when the file had other names, through which the backup could have been changed", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    linkSync(join(root, "etc/motd"), join(root, "etc/alias"));

    const step = await change("/etc/motd", text("new"));
    writeFileSync(join(root, "etc/alias"), "changed through the other name");
    await files.undo(step);

    expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("old");
    expect(readdirSync(join(root, "etc")).sort()).toEqual(["alias", "motd"]);
  });

  it("overwrites nothing that somebody else changed since, and names what it found", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    const step = await change("/etc/motd", text("new"));
    writeFileSync(join(root, "etc/motd"), "by hand");

    await expect(files.undo(step)).rejects.toMatchObject({
      code: "CONFLICT",
      details: { now: expect.any(String), before: expect.any(String), after: expect.any(String) },
    });
    expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("by hand");
  });

  it("fails when the backup was changed or is gone", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    const step = await change("/etc/motd", text("new"));
    writeFileSync(join(root, "etc", step.backup ?? ""), "tampered");
    expect(await code(files.undo(step))).toBe("CONFLICT");

    unlinkSync(join(root, "etc", step.backup ?? ""));
    expect(await code(files.undo(step))).toBe("CONFLICT");
    expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("new");
  });
});

describe("an attempt that was cut short", () => {
  it("is gone on with wherever it ended, and undone without a trace from there", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    const before = snapshot();
    const cutShort: ((step: FileStep) => void)[] = [
      () => undefined,
      (step) => linkSync(join(root, "etc/motd"), join(root, "etc", step.backup ?? "")),
      (step) => {
        linkSync(join(root, "etc/motd"), join(root, "etc", step.backup ?? ""));
        writeFileSync(join(root, "etc", step.draft), "half of the con");
      },
      (step) => writeFileSync(join(root, "etc", step.backup ?? ""), "half of the ba"),
      (step) => symlinkSync("/etc/passwd", join(root, "etc", step.draft)),
    ];
    for (const cut of cutShort) {
      const wanted = text("new");
      const undone = await files.prepare("/etc/motd", wanted, stamp());
      cut(undone);
      await files.undo(undone);
      expect(snapshot()).toEqual(before);

      const done = await files.prepare("/etc/motd", wanted, stamp());
      cut(done);
      await files.apply(done, wanted.content);
      await files.apply(done, wanted.content);
      expect(readFileSync(join(root, "etc/motd"), "utf8")).toBe("new");
      expect(readdirSync(join(root, "etc")).sort()).toEqual(["motd", done.backup]);
      await files.undo(done);
      expect(snapshot()).toEqual(before);
    }
  });

  it("is not gone on with over a change that somebody else made meanwhile", async () => {
    writeFileSync(join(root, "etc/motd"), "old");
    const step = await files.prepare("/etc/motd", text("new"), stamp());
    writeFileSync(join(root, "etc/motd"), "by hand");

    expect(await code(files.apply(step, Buffer.from("new")))).toBe("CONFLICT");
    expect(readdirSync(join(root, "etc"))).toEqual(["motd"]);
  });

  it("takes no other content than the one it began with", async () => {
    const step = await files.prepare("/etc/motd", text("new"), stamp());

    expect(await code(files.apply(step, Buffer.from("other")))).toBe("CONFLICT");
    expect(readdirSync(join(root, "etc"))).toEqual([]);
  });
});

describe("a path", () => {
  it.each([
    ["relative", "etc/motd"],
    ["with ..", "/etc/../../outside"],
    ["with .. first", "/../outside"],
    ["with .", "/etc/./motd"],
    ["with an empty part", "/etc//motd"],
    ["that ends in a slash", "/etc/motd/"],
    ["of the root itself", "/"],
    ["with NUL", "/etc/mo\0td"],
    ["with half a character", "/etc/\ud800"],
    ["in a folder that does not exist", "/nowhere/motd"],
    ["below a file", "/etc/file/motd"],
    ["with too long a name", `/etc/${"x".repeat(201)}`],
    ["of a folder", "/etc/folder"],
    ["of a link", "/etc/link"],
    ["of a dangling link", "/etc/dangling"],
    ["through a link", "/link/motd"],
    ["through a link that stays inside", "/inner/motd"],
    ["of a pipe", "/etc/pipe"],
  ])("%s is refused", async (_what, path) => {
    writeFileSync(join(base, "outside"), "secret");
    writeFileSync(join(root, "etc/file"), "");
    mkdirSync(join(root, "etc/folder"));
    symlinkSync(join(base, "outside"), join(root, "etc/link"));
    symlinkSync("nothing", join(root, "etc/dangling"));
    symlinkSync(base, join(root, "link"));
    symlinkSync("etc", join(root, "inner"));
    execFileSync("mkfifo", [join(root, "etc/pipe")]);
    const before = readdirSync(join(root, "etc"));

    expect(await code(files.read(path))).toBe("PATH_REFUSED");
    expect(await code(change(path, text("x")))).toBe("PATH_REFUSED");
    expect(await code(change(path, null))).toBe("PATH_REFUSED");

    expect(readdirSync(join(root, "etc"))).toEqual(before);
    expect(readFileSync(join(base, "outside"), "utf8")).toBe("secret");
  });

  it("leads nowhere else when folder and file are swapped for links while it is worked on", async () => {
    const outside = join(base, "elsewhere");
    mkdirSync(outside);
    writeFileSync(join(outside, "motd"), "secret");
    writeFileSync(join(root, "etc/motd"), "old");
    let running = true;
    const turns = async (most: number) => {
      for (let left = Math.floor(Math.random() * most); left >= 0; left--) await new Promise((go) => setImmediate(go));
    };
    const swapping = (async () => {
      while (running) {
        renameSync(join(root, "etc"), join(root, "away"));
        symlinkSync(outside, join(root, "etc"));
        await turns(6);
        unlinkSync(join(root, "etc"));
        renameSync(join(root, "away"), join(root, "etc"));
        await turns(60);
      }
    })();
    const codes = new Map<unknown, number>();
    const enough = () => (codes.get("no error") ?? 0) >= 20 && (codes.get("PATH_REFUSED") ?? 0) >= 20;
    const deadline = performance.now() + 8_000;
    for (let i = 0; !enough() && performance.now() < deadline; i++) {
      const seen = await code(change("/etc/motd", text(`content ${i}`)));
      codes.set(seen, (codes.get(seen) ?? 0) + 1);
    }
    running = false;
    await swapping;

    expect(readdirSync(outside)).toEqual(["motd"]);
    expect(readFileSync(join(outside, "motd"), "utf8")).toBe("secret");
    expect([...codes.keys()].sort()).toEqual(["PATH_REFUSED", "no error"]);
    expect(enough()).toBe(true);
  });

  it("on a real root follows the system's links, but not into DebVisor's own state, nor to the kernel's files", async () => {
    const real = createHostFileWriter({ root: "/", ownDir: join(base, "state") });
    mkdirSync(join(base, "state/credentials"), { recursive: true });
    writeFileSync(join(base, "state/node.json"), "{}");
    symlinkSync(join(root, "etc"), join(base, "link"));
    symlinkSync(join(base, "state"), join(base, "innocent"));
    writeFileSync(join(root, "etc/motd"), "old");

    expect((await real.read(join(base, "link/motd"))).state?.sizeBytes).toBe(3);
    for (const path of ["state/node.json", "state/credentials/new", "innocent/node.json"])
      expect(await code(real.read(join(base, path)))).toBe("PATH_REFUSED");
    expect(await code(real.read("/proc/uptime"))).toBe("PATH_REFUSED");
    expect(await code(real.read("/sys/kernel/uevent_seqnum"))).toBe("PATH_REFUSED");
  });
});

describe("what the system refuses", () => {
  it("is reported with its cause, and leaves nothing behind", async () => {
    chmodSync(base, 0o755);
    chmodSync(join(root, "etc"), 0o777);
    mkdirSync(join(root, "closed"), { mode: 0o555 });
    await asOrdinaryUser(async () => {
      await expect(change("/closed/motd", text("x"))).rejects.toMatchObject({
        code: "TOOL_FAILED",
        details: { cause: "EACCES" },
      });
      await expect(change("/etc/motd", text("x", { owner: "root" }))).rejects.toMatchObject({
        code: "TOOL_FAILED",
        details: { cause: "EPERM" },
      });
    });

    expect(readdirSync(join(root, "closed"))).toEqual([]);
    expect(readdirSync(join(root, "etc"))).toEqual([]);
  });
});

/** Runs something without the rights of root; as an ordinary user it just runs. */
async function asOrdinaryUser<T>(run: () => Promise<T>): Promise<T> {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65534);
  try {
    return await run();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}
