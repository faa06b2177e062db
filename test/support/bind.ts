// SPDX-License-Identifier: Apache-2.0
/**
 * BIND for tests: named as primary and secondary on free ports of 127.0.0.1, each in a folder of its own, with TSIG keys made here.
 * Nothing of the machine's own named is used or touched. `await using bind = await startBind()`.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { freePorts } from "./free-ports.ts";
import { waitFor } from "./wait-for.ts";

const run = promisify(execFile);
const START_MS = 15_000;

/** A TSIG key. */
export interface TestKey {
  readonly name: string;
  readonly secret: string;
  /** File in the format of tsig-keygen, mode 0600. */
  readonly file: string;
}

/** A server. */
export interface TestNamed {
  readonly port: number;
  /** Sends a signal to the process that this test started. */
  signal(signal: NodeJS.Signals): void;
  /** Ends it; its port refuses from then on. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** What is served: zones, reverse ones too, and whether the secondary is told of changes. */
export interface BindOptions {
  readonly zones?: readonly string[];
  readonly secondary?: boolean;
  /** False: the secondary learns of nothing, and lags. */
  readonly notify?: boolean;
  /** Signs the zones. */
  readonly dnssec?: boolean;
  /** More keys that may update, by name. */
  readonly keys?: readonly string[];
}

export interface TestBind extends AsyncDisposable {
  readonly primary: TestNamed;
  readonly secondary: TestNamed | undefined;
  readonly keys: Readonly<Record<string, TestKey>>;
  /** The first key: it may update every zone and transfer it. */
  readonly key: TestKey;
  /** A key of that name that no server knows, or knows with another secret. */
  strange(name: string): TestKey;
  /** What a server has: `dig +short`, sorted; by default the primary. */
  dig(name: string, type: string, port?: number): Promise<string[]>;
  /** Lines for nsupdate, as somebody else who changes the zone. */
  nsupdate(zone: string, ...lines: string[]): Promise<void>;
}

/** Zones that tests use: names and the addresses of 192.0.2.0/24 and 2001:db8::/32. */
export const ZONES = ["debvisor.local", "2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"];

/** Starts the servers; ready when both answer for every zone. */
export async function startBind(options: BindOptions = {}): Promise<TestBind> {
  const { zones = ZONES, secondary = true, notify = true } = options;
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-bind-"));
  const [first = 0, second = 0] = await freePorts(2);
  const keyOf = (name: string) => makeKey(dir, name);
  const keys = Object.fromEntries(["dv-key", ...(options.keys ?? [])].map((name) => [name, keyOf(name)]));
  const key = keys["dv-key"] as TestKey;
  const transfer = keyOf("xfer");
  const grants = Object.keys(keys)
    .map((name) => `grant ${name} zonesub ANY;`)
    .join(" ");
  const include = [...Object.values(keys), transfer].map(({ file }) => `include "${file}";`).join("\n");
  const signing = options.dnssec ? "dnssec-policy default; inline-signing yes;" : "";
  const primaryZone = (zone: string) =>
    `zone "${zone}" { type primary; file "${zone}.db"; ${signing} update-policy { ${grants} };
      allow-transfer { key xfer; key dv-key; }; also-notify { ${notify ? `127.0.0.1 port ${second} key xfer;` : ""} }; };`;
  const secondaryZone = (zone: string) =>
    `zone "${zone}" { type secondary; file "${zone}.copy"; primaries { 127.0.0.1 port ${first} key xfer; };
      allow-notify { key xfer; 127.0.0.1; }; };`;
  const one = new Named(path.join(dir, "primary"), first, `${include}\n${zones.map(primaryZone).join("\n")}`);
  for (const zone of zones) writeFileSync(path.join(dir, "primary", `${zone}.db`), zoneFile(zone));
  const two = secondary
    ? new Named(
        path.join(dir, "secondary"),
        second,
        `include "${transfer.file}";\n${zones.map(secondaryZone).join("\n")}`,
      )
    : undefined;
  const bind: TestBind = {
    primary: one,
    secondary: two,
    keys,
    key,
    strange: (name) => makeKey(mkdtempSync(path.join(dir, "strange-")), name),
    dig: async (name, type, port = first) => {
      const asked = ["-r", "@127.0.0.1", "-p", String(port), "+short", "+norec", name, type];
      return (await run("dig", asked)).stdout
        .split("\n")
        .filter((line) => line !== "")
        .sort();
    },
    nsupdate: async (zone, ...lines) => {
      const child = run("nsupdate", ["-k", key.file]);
      child.child.stdin?.end([`server 127.0.0.1 ${first}`, `zone ${zone}`, ...lines, "send", ""].join("\n"));
      await child;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([one.stop(), two?.stop()]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
  try {
    await one.start();
    await two?.start();
    for (const port of two ? [first, second] : [first]) {
      for (const zone of zones)
        await waitFor(
          async () => (await bind.dig(zone, "SOA", port).catch(() => [])).length === 1,
          START_MS,
          () => `named on ${port} does not serve ${zone}: ${one.log()}`,
        );
    }
    return bind;
  } catch (error) {
    await bind[Symbol.asyncDispose]();
    throw error;
  }
}

function makeKey(dir: string, name: string): TestKey {
  const secret = randomBytes(32).toString("base64");
  const file = path.join(dir, `${name}.key`);
  writeFileSync(file, `key "${name}" {\n\talgorithm hmac-sha256;\n\tsecret "${secret}";\n};\n`, { mode: 0o600 });
  return { name, secret, file };
}

/** A zone with nothing but what it must have. */
export function zoneFile(zone: string): string {
  return `$TTL 60
@ IN SOA ns1.debvisor.local. admin.debvisor.local. 1 60 30 86400 30
@ IN NS ns1.debvisor.local.
@ IN NS ns2.debvisor.local.
${zone === "debvisor.local" ? "ns1 IN A 127.0.0.1\nns2 IN A 127.0.0.1\n" : ""}`;
}

/** A server with the zones that are written out, and a way to be controlled where one is given. */
export class Named implements TestNamed {
  readonly port: number;
  readonly #dir: string;
  #child: ChildProcess | undefined;

  constructor(dir: string, port: number, zones: string, controls = "controls { };") {
    this.#dir = dir;
    this.port = port;
    mkdirSync(dir, { recursive: true });
    writeFileSync(
      path.join(dir, "named.conf"),
      `options { directory "${dir}"; pid-file none; session-keyfile "${dir}/session.key"; managed-keys-directory "${dir}";
        listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify explicit;
        notify-delay 0; serial-query-rate 200; min-refresh-time 1; transfer-source 127.0.0.1; lock-file none; };
      ${controls}
      ${zones}\n`,
    );
  }

  async start(): Promise<void> {
    const child = spawn("named", ["-f", "-n", "1", "-c", path.join(this.#dir, "named.conf"), "-L", this.#logFile], {
      stdio: "ignore",
    });
    this.#child = child;
    await waitFor(
      () => /running$/m.test(this.log()) || child.exitCode !== null,
      START_MS,
      () => `named does not run: ${this.log()}`,
    );
    if (child.exitCode !== null) throw new Error(`named ended: ${this.log()}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGCONT");
    child.kill("SIGKILL");
    await ended;
    rmSync(this.#logFile, { force: true });
  }

  log(): string {
    try {
      return readFileSync(this.#logFile, "utf8");
    } catch {
      return "";
    }
  }

  get #logFile(): string {
    return path.join(this.#dir, "named.log");
  }
}
