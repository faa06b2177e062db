// SPDX-License-Identifier: Apache-2.0
/** The units of systemd/, judged by systemd's own tools as if the project were installed in /opt/debvisor. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { isInstalled } from "../../../tools/test-requirements.ts";
import { run } from "../../support/lan-namespaces.ts";

const ROOT = path.resolve(import.meta.dirname, "../../..");
const FOLDER = path.join(ROOT, "systemd");
const units = readdirSync(FOLDER).filter((file) => /\.(?:service|target|path|timer)$/.test(file));
const services = units.filter((file) => file.endsWith(".service"));
/** Those that a timer starts. */
const timed = services.filter((file) => units.includes(file.replace(/service$/, "timer")));
const lasting = services.filter((file) => !timed.includes(file));

/** Highest exposure that each may have, of 10: those that change the host need more than the others. */
const EXPOSURE_MAX = 2.5;
const EXPOSURE_MAX_PRIVILEGED = 5;
const PRIVILEGED = new Set(["debvisor-node-agent.service"]);

const lacking = [
  ...(process.getuid?.() === 0 ? [] : ["root"]),
  ...["systemd-analyze", "unshare"].filter((program) => !isInstalled(program)),
];

function text(unit: string): string {
  return readFileSync(path.join(FOLDER, unit), "utf8");
}

/** Values of a setting, in order. */
function settings(unit: string, key: string): string[] {
  return [...text(unit).matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value = ""]) => value);
}

describe.skipIf(lacking.length > 0)(`systemd (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  it("finds nothing wrong with the units", async () => {
    const install = `mount -t tmpfs tmpfs /opt && mkdir /opt/debvisor && mount --bind "$1" /opt/debvisor && shift && systemd-analyze verify "$@"`;
    const files = units.map((unit) => path.join("/opt/debvisor/systemd", unit));
    const argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", install, "verify", ROOT, ...files];
    const { code, stdout, stderr } = await run(argv);
    // Unknown keys are only warned about: whatever it says is a fault.
    expect({ code, said: stdout + stderr }).toEqual({ code: 0, said: "" });
  });

  it.each(services)("judges %s to be confined", async (unit) => {
    const { stdout } = await run([
      ...["systemd-analyze", "security", "--offline=true", "--no-pager", path.join(FOLDER, unit)],
    ]);
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
    expect(exposure).toBeGreaterThan(0);
    expect(exposure).toBeLessThanOrEqual(PRIVILEGED.has(unit) ? EXPOSURE_MAX_PRIVILEGED : EXPOSURE_MAX);
  });
});

describe("the units", () => {
  it("start together, end together and are started again for ever", () => {
    for (const unit of lasting) {
      expect([unit, settings(unit, "PartOf"), settings(unit, "WantedBy")]).toEqual([
        unit,
        ["debvisor.target"],
        [unit === "debvisor-join.service" ? "debvisor.target" : "debvisor-member.target"],
      ]);
      expect([unit, settings(unit, "Restart"), settings(unit, "StartLimitIntervalSec")]).toEqual([
        unit,
        ["on-failure"],
        ["0"],
      ]);
    }
  });

  it("rotate keys every month, also after a month that was missed, with a user and a key for that alone", () => {
    expect(timed).toEqual(["tsig-rotate.service"]);
    const timer = "tsig-rotate.timer";
    expect(["OnCalendar", "Persistent", "WantedBy"].map((key) => settings(timer, key))).toEqual([
      ["monthly"],
      ["true"],
      ["timers.target"],
    ]);
    expect(settings(timer, "RandomizedDelaySec")).toHaveLength(1);
    const [unit = ""] = timed;
    expect(["Type", "Restart", "WantedBy"].map((key) => settings(unit, key))).toEqual([["oneshot"], [], []]);
    const [user = ""] = settings(unit, "User");
    expect(services.filter((other) => settings(other, "User").includes(user))).toEqual([unit]);
    expect(text("debvisor.sysusers")).toMatch(new RegExp(`^u ${user} `, "m"));
    expect(settings(unit, "LoadCredential")).toEqual(["context.json:/etc/debvisor/tsig-rotate.json"]);
    expect(settings(unit, "ExecStart")[0]).toMatch(/ --context %d\/context\.json dns keys rotate .*--confirm$/);
  });

  it("have names of their own, so that all can be enabled", () => {
    const names = units.flatMap((unit) => [unit, ...settings(unit, "Alias")]);
    expect(names.toSorted()).toEqual([...new Set(names)].toSorted());
    expect(settings("debvisor-rpcd.service", "Alias")).toEqual(["debvisor-gateway.service"]);
  });

  it("name programs and documents that exist", () => {
    const named = units.flatMap((unit) =>
      [...text(unit).matchAll(/\/opt\/debvisor\/([^\s]+)/g)].map(([, file = ""]) => file),
    );
    expect(named.filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([]);
  });

  it("wait for a membership, other than the one that gets it", () => {
    for (const unit of services) {
      const conditions = settings(unit, "ConditionPathExists");
      const negated = unit === "debvisor-join.service";
      expect([unit, conditions[0]]).toEqual([unit, `${negated ? "!" : ""}/var/lib/debvisor/membership.json`]);
    }
  });

  it("explain each capability in a comment above it", () => {
    for (const unit of services) {
      for (const [, above = ""] of text(unit).matchAll(/^(.*)\nCapabilityBoundingSet=CAP_/gm)) {
        expect([unit, above]).toEqual([unit, expect.stringMatching(/^# /)]);
      }
    }
  });

  it("hide the credentials of others from all but those that let machines in", () => {
    const open = services.filter((unit) => !settings(unit, "InaccessiblePaths").join().includes("credentials"));
    expect(open).toEqual(["debvisor-discovery.service", "debvisor-join.service"]);
  });
});
