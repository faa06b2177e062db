// SPDX-License-Identifier: Apache-2.0
/** The commands of dns as they are typed, on a local cluster and a BIND with primary and secondary. */
import { execFile } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ROOT } from "../../tools/paths.ts";
import { isInstalled } from "../../tools/test-requirements.ts";
import { Named, startBind, type TestBind, zoneFile } from "../support/bind.ts";
import { controlOf, withoutKeys } from "../support/bind-managed.ts";
import { freePorts } from "../support/free-ports.ts";
import { type LocalCluster, runCommand, startLocalCluster } from "../support/local-cluster.ts";

const run = promisify(execFile);
const lacking = ["named", "nsupdate"].filter((program) => !isInstalled(program));
const START_MS = 120_000;
const lacks = `lacking here: ${lacking.join(", ") || "nothing"}`;
let bind: TestBind;
let lab: LocalCluster;

beforeAll(async () => {
  if (lacking.length > 0) return;
  [bind, lab] = await Promise.all([startBind(), startLocalCluster({ flags: ["--nodes", "1"] })]);
}, START_MS);
afterAll(async () => {
  await Promise.all([bind?.[Symbol.asyncDispose](), lab?.[Symbol.asyncDispose]()]);
});

const update = (...args: readonly string[]) => lab.command("debvisor-dns-update", ...args);
const lookUp = (name: string, type: string) => bind.dig(name, type, bind.secondary?.port);

test.skipIf(lacking.length > 0)(`records as an operator changes them (${lacks})`, { timeout: START_MS }, async () => {
  const zones = ["--zone", "debvisor.local", "--zone", "2.0.192.in-addr.arpa"];
  const at = (port = 0) => ["--address", "127.0.0.1", "--port", String(port), ...zones];
  const unconfigured = await update("web1", "192.0.2.1");
  expect([unconfigured.code, unconfigured.stderr]).toEqual([6, expect.stringContaining("dvctl dns servers add NAME")]);

  const open = path.join(lab.dataDir, "open.key");
  copyFileSync(bind.key.file, open);
  chmodSync(open, 0o644);
  const refused = await lab.dvctl("dns", "servers", "add", "ns1", ...at(bind.primary.port), "--key", open);
  expect([refused.code, refused.stderr]).toEqual([6, expect.stringContaining("chmod 0600")]);
  const added = [
    await lab.dvctl(
      "dns",
      "servers",
      "add",
      "ns1",
      ...at(bind.primary.port),
      "--role",
      "primary",
      "--key",
      bind.key.file,
    ),
    await lab.dvctl("dns", "servers", "add", "ns2", ...at(bind.secondary?.port), "--role", "secondary"),
    await lab.dvctl("dns", "servers", "check", "ns1"),
  ];
  expect(added.map(({ code }) => code)).toEqual([0, 0, 0]);
  expect((await lab.dvctl("dns", "servers", "list")).stdout).toMatch(/ns2 .*secondary/);

  const made = await update(
    "web1",
    "192.0.2.1",
    "--ttl=300",
    "--zone",
    "debvisor.local",
    "--server",
    "ns1",
    "--server",
    "ns2",
    "--key",
    bind.key.file,
  );
  expect([made.code, made.stderr]).toEqual([0, expect.stringMatching(/ns2 +secondary +same/)]);
  expect([await lookUp("web1.debvisor.local", "A"), await lookUp("1.2.0.192.in-addr.arpa", "PTR")]).toEqual([
    ["192.0.2.1"],
    ["web1.debvisor.local."],
  ]);
  expect((await lab.dvctl("dns", "propagation", "web1")).code).toBe(0);
  expect((await lab.dvctl("dns", "records", "list", "web1")).stdout).toMatch(
    /web1\.debvisor\.local +A +300 +192\.0\.2\.1/,
  );

  const moved = await update("web1", "192.0.2.2");
  expect(moved.code).toBe(0);
  const id = /op-[a-z2-7]{13}/.exec(moved.stdout + moved.stderr)?.[0] ?? "";
  const back = await update("--rollback", id, "--confirm");
  expect([back.code, await lookUp("web1.debvisor.local", "A")]).toEqual([0, ["192.0.2.1"]]);

  await bind.nsupdate(
    "debvisor.local",
    "update delete web1.debvisor.local. A",
    "update add web1.debvisor.local. 60 A 192.0.2.9",
  );
  const since = await lab.dvctl("dns", "changes", "check", id);
  expect([since.code, since.stdout]).toEqual([0, expect.stringMatching(/web1.*changed-since/)]);
  const late = await update("--rollback", "--confirm");
  expect([late.code, late.stderr]).toEqual([5, expect.stringMatching(/300 192\.0\.2\.1.*60 192\.0\.2\.9/s)]);

  expect((await update("web1", "192.0.2.9", "delete")).code).toBe(0);
  expect(await lookUp("web1.debvisor.local", "A")).toEqual([]);
  const text = await lab.dvctl("dns", "records", "set", "_dmarc", "v=DMARC1; p=none", "--type", "TXT");
  expect([text.code, await lookUp("_dmarc.debvisor.local", "TXT")]).toEqual([0, ['"v=DMARC1; p=none"']]);

  await bind.nsupdate("debvisor.local", "update add web4.debvisor.local. 2 A 192.0.2.14");
  const slow = ["web4", "192.0.2.15", "--lower-ttl", "--low-ttl", "1", "--ttl", "300"];
  const planned = await update(...slow, "--dry-run");
  expect([planned.code, planned.stdout]).toEqual([0, expect.stringMatching(/lower .*\n.*wait 2 s.*\n.*change/)]);
  expect([(await update(...slow)).code, await lookUp("web4.debvisor.local", "A")]).toEqual([0, ["192.0.2.15"]]);
  expect((await lab.dvctl("dns", "records", "list", "web4")).stdout).toMatch(/A +300 +192\.0\.2\.15/);

  const registered = await lab.dvctl("dns", "hosts", "register", "vm7", "192.0.2.17", "--id", "vm-7");
  expect([registered.code, registered.stderr]).toEqual([0, expect.stringMatching(/ns2 +secondary +same/)]);
  expect(await lookUp("17.2.0.192.in-addr.arpa", "PTR")).toEqual(["vm7.debvisor.local."]);
  const hosts = (await lab.dvctl("dns", "hosts", "list")).stdout;
  expect(hosts).toMatch(/vm7\.debvisor\.local +vm +192\.0\.2\.17 +registered/);
  expect(hosts).toMatch(/node.*waiting.*no address but loopback/);
  const other = await lab.dvctl("dns", "hosts", "register", "vm7", "192.0.2.18", "--id", "vm-8");
  expect([other.code, other.stderr]).toEqual([5, expect.stringContaining("registered for vm vm-7 with 192.0.2.17")]);
  expect((await lab.dvctl("dns", "hosts", "deregister", "vm7")).code).toBe(0);
  expect(await lookUp("vm7.debvisor.local", "A")).toEqual([]);

  await bind.secondary?.stop();
  const lagging = await update("web2", "192.0.2.3", "--propagation", "1s");
  expect([lagging.code, lagging.stderr]).toEqual([5, expect.stringMatching(/not propagated: ns2.*unreachable/)]);
  expect((await lab.dvctl("dns", "propagation", "web2")).code).toBe(5);
  const listed = JSON.parse((await lab.dvctl("dns", "changes", "list", "--format", "json")).stdout) as {
    items: object[];
  };
  expect(listed.items[0]).toMatchObject({ state: "succeeded", propagated: false });

  const set = JSON.stringify([
    { name: "a1", data: ["192.0.2.11"] },
    { action: "delete", name: "web2", type: "A" },
  ]);
  expect((await lab.dvctl("dns", "records", "change", set, "--propagation", "1s", "--everywhere")).code).toBe(5);
  expect(await bind.dig("a1.debvisor.local", "A")).toEqual([]);
  expect((await lab.dvctl("dns", "servers", "remove", "ns2", "--confirm")).code).toBe(0);
  expect((await lab.dvctl("dns", "records", "change", set)).code).toBe(0);
  expect(await bind.dig("a1.debvisor.local", "A")).toEqual(["192.0.2.11"]);
  expect((await lab.dvctl("dns", "dnssec", "check", "debvisor.local")).code).toBe(6);
  expect((await lab.dvctl("dns", "keys", "remove", "dv-key", "--confirm")).code).toBe(5);
  expect((await lab.dvctl("dns", "keys", "import", bind.key.file)).stdout).toMatch(/fingerprint +[0-9a-f]{16}/i);

  // The secret went through a command, a gateway, the bus and two programs: nobody has kept it.
  const trail = await lab.dvctl("audit", "export");
  const events = await lab.dvctl("events", "follow", "--since", "1h", "--timeout", "3s", "--format", "json");
  expect(trail.stdout).toContain("dns.set-key");
  for (const text of [trail.stdout, events.stdout, JSON.stringify(added)]) expect(text).not.toContain(bind.key.secret);
});

test.skipIf(lacking.length > 0)(`what cannot be is refused before anything is sent (${lacks})`, async () => {
  const codes = [
    await update("web_1", "192.0.2.1"),
    await update("bücher", "192.0.2.1"),
    await update("web1", "192.0.2.256"),
    await update("web1", "192.0.2.1", "--ttl", "29"),
    await update("web1", "192.0.2.1", "--key", "/nonexistent.key"),
    await update("web1"),
  ].map(({ code }) => code);

  expect(codes).toEqual([6, 6, 6, 2, 6, 2]);
});

test.skipIf(lacking.length > 0)(`keys are made and checked, by name and by file (${lacks})`, async () => {
  const out = path.join(lab.dataDir, "keys");
  mkdirSync(out);
  const create = () => lab.dvctl("dns", "keys", "create", "dv-made", "--out", out);
  const [made, again] = [await create(), await create()];
  const files = ["dv-made.key", "dv-made.conf"].map((file) => path.join(out, file));
  const secret = /secret "([^"]+)"/.exec(readFileSync(files[0] ?? "", "utf8"))?.[1] ?? "none";

  expect([made.code, made.stdout]).toEqual([0, expect.stringMatching(/fingerprint +[0-9a-f]{16}/i)]);
  expect([again.code, again.stderr]).toEqual([5, expect.stringContaining("nothing was overwritten")]);
  expect(files.map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o640]);
  expect((await run("named-checkconf", [files[1] ?? ""])).stderr).toBe("");
  expect(JSON.stringify([made, await lab.dvctl("audit", "export")])).not.toContain(secret);

  const open = path.join(out, "open.key");
  writeFileSync(open, readFileSync(bind.key.file), { mode: 0o644 });
  const checks = [
    ...[bind.key.name, bind.key.file, "dv-made", open, "nosuch", "./nosuch.key"],
    bind.strange(bind.key.name).file,
  ].map((key) => lab.dvctl("dns", "keys", "check", key));
  const found = await Promise.all(checks);
  expect(found.map(({ code }) => code)).toEqual([0, 0, 6, 6, 6, 6, 6]);
  expect(found[2]?.stdout).toMatch(/signature +ns1 .*failed +DNS_TSIG_BADKEY/);
  expect(found[3]?.stderr).toContain("chmod 0600");
  expect(found[6]?.stdout).toMatch(/signature +ns1 .*failed +DNS_TSIG_BADSIG/);
  expect((await lab.dvctl("dns", "keys", "remove", "dv-made", "--confirm")).code).toBe(0);
});

test.skipIf(lacking.length > 0)(
  `the keys of a member's BIND are rotated by an API key that may do that alone (${lacks})`,
  async () => {
    const [node] = await lab.nodes();
    const nodeDir = path.join(lab.dataDir, "nodes", node?.id ?? "");
    const [dir, file] = [path.join(lab.dataDir, "ns3"), path.join(nodeDir, "root/etc/debvisor.keys")];
    const [port = 0, control = 0] = await freePorts(2);
    mkdirSync(dir);
    writeFileSync(path.join(dir, "managed.test.db"), zoneFile("managed.test"));
    writeFileSync(file, withoutKeys(port), { mode: 0o640 });
    const { rndc, controls } = controlOf(dir, control);
    const zone = `zone "managed.test" { type primary; file "managed.test.db"; allow-update { debvisor-node; }; allow-transfer { debvisor-transfer; }; };`;
    const named = new Named(dir, port, `include "${file}";\n${zone}`, controls);
    const config = `bindKeys: /etc/debvisor.keys\nbindRndc: [${rndc.join(", ")}]\n`;
    writeFileSync(path.join(nodeDir, "etc/node-agent.yaml"), config);
    await named.start();
    try {
      expect((await lab.dvctl("nodes", "service", "restart", "node-1", "node-agent", "--confirm")).code).toBe(0);
      const at = ["--address", "127.0.0.1", "--port", String(port), "--zone", "managed.test", "--node", "node-1"];
      expect((await lab.dvctl("dns", "servers", "add", "ns3", ...at)).code).toBe(0);
      const scopes = ["--scopes", "dns:key:rotate", "--scopes", "operation:operation:wait"];
      const token = await lab.dvctl(
        "tokens",
        "create",
        "tsig-rotate",
        "--role",
        "admin",
        ...scopes,
        "--format",
        "json",
      );
      const context = path.join(lab.dataDir, "tsig-rotate.json");
      const { secret } = JSON.parse(token.stdout) as { secret: string };
      const own = { ...(JSON.parse(readFileSync(lab.contextFile, "utf8")) as object), token: secret };
      writeFileSync(context, JSON.stringify(own), { mode: 0o600 });
      const byTimer = (...args: string[]) => lab.dvctl("--context", context, ...args);

      // As the unit has it; only without the minute of overlap.
      const unit = readFileSync(path.join(ROOT, "systemd/tsig-rotate.service"), "utf8");
      const line = (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? "").replaceAll("/opt/debvisor", ROOT);
      const [program = "", ...words] = line.replace("%d/context.json", context).split(" ");
      const rotated = await runCommand(program, [...words, "--overlap", "0s"], { NO_COLOR: "1" });
      expect([rotated.code, rotated.stdout]).toEqual([0, expect.stringContaining("succeeded")]);
      expect((await byTimer("dns", "keys", "list")).code).not.toBe(0);
      expect((await byTimer("dns", "records", "set", "web1.managed.test", "192.0.2.7")).code).not.toBe(0);
      const set = await lab.dvctl("dns", "records", "set", "web1.managed.test", "192.0.2.7");
      expect([set.code, await bind.dig("web1.managed.test", "A", port)]).toEqual([0, ["192.0.2.7"]]);
      const plan = async (...flags: string[]) =>
        (await lab.dvctl("dns", "keys", "rotate", ...flags, "--dry-run")).stdout;
      const planned = [await plan(), await plan("--purpose", "vm"), await plan("--purpose", "vm", "--purpose", "node")];
      expect(planned.map((text) => [...text.matchAll(/key for (\w+) on ns3/g)].map(([, one]) => one))).toEqual([
        ["node", "vm", "transfer"],
        ["vm"],
        ["node", "vm"],
      ]);
      const keys = readFileSync(file, "utf8");
      const again = await byTimer("dns", "keys", "rotate", "--overlap", "0s", "--confirm");
      expect([again.code, readFileSync(file, "utf8") === keys]).toEqual([0, false]);
      expect((await lab.dvctl("dns", "servers", "check", "ns3")).code).toBe(0);
      const secrets = [...keys.matchAll(/secret "([^"]+)"/g)].map(([, one = ""]) => one);
      const trail = await lab.dvctl("audit", "export");
      expect(trail.stdout).toContain("dns.rotate-keys");
      for (const one of secrets) expect(trail.stdout + rotated.stdout + rotated.stderr).not.toContain(one);
      const logs = await run("grep", ["-rlF", "-e", secrets[0] ?? "none", path.join(lab.dataDir)]).catch(() => ({
        stdout: "",
      }));
      expect(logs.stdout).toBe("");
    } finally {
      await named.stop();
    }
  },
);
