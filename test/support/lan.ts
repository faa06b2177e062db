// SPDX-License-Identifier: Apache-2.0
/**
 * A LAN of network namespaces: hosts 0 to n-1, each with an interface `eth0` (10.77.0.<n+1>, fd77:0:0:0::<n+1>) at a bridge in a
 * namespace of its own, the "switch". With a second network each host has `eth1` (10.77.1.x) at a second bridge. Cables can be
 * pulled, and the switch split into parts that do not hear each other. Nothing leaves the machine.
 *
 * `await using lan = await startLan({ hosts: 3 })`. What runs inside ends with the test process, however that ends; the
 * namespaces of a killed one are removed at the next start.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { ip, removeNamespaces, removeStale, run, uniquePrefix } from "./lan-namespaces.ts";
import { untilPassing } from "./lan-probe.ts";
import type { CommandResult } from "./local-cluster.ts";

/** Host numbers from 251 on belong to the switch. */
const MAX_HOSTS = 250;
const ROUTER = 254;

export interface LanOptions {
  readonly hosts: number;
  /** Number of networks, and so of interfaces a host has. Default: 1. */
  readonly networks?: 1 | 2;
  /** No IPv4 address on any interface. */
  readonly ipv6Only?: boolean;
  /** Default: true, to the switch's address in the first network, behind which there is nothing. */
  readonly defaultRoute?: boolean;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly input?: string;
}

/** A running LAN. */
export class Lan implements AsyncDisposable {
  readonly hosts: number;
  readonly networks: number;
  readonly #ipv6Only: boolean;
  readonly #prefix: string;
  /** Per network and host: the part of the switch that its cable leads to; undefined while the cable is out. */
  readonly #parts: number[][];
  readonly #down = new Set<string>();

  constructor({ hosts, networks = 1, ipv6Only = false }: LanOptions) {
    if (hosts < 1 || hosts > MAX_HOSTS) throw new RangeError(`a LAN has 1 to ${MAX_HOSTS} hosts`);
    this.hosts = hosts;
    this.networks = networks;
    this.#ipv6Only = ipv6Only;
    this.#prefix = uniquePrefix();
    this.#parts = Array.from({ length: networks }, () => Array.from({ length: hosts }, () => 0));
  }

  /** Name of a host's namespace. */
  namespace(host: number): string {
    if (!Number.isInteger(host) || host < 0 || host >= this.hosts) throw new RangeError(`the LAN has no host ${host}`);
    return `${this.#prefix}-h${host}`;
  }

  /** Address of a host: IPv4, or IPv6 on a LAN without IPv4. */
  address(host: number, network = 0): string {
    return this.#ipv6Only ? this.address6(host, network) : `10.77.${network}.${host + 1}`;
  }

  /** IPv6 address of a host. */
  address6(host: number, network = 0): string {
    return ip6(network, host + 1);
  }

  /** Runs a program on a host to its end. */
  exec(host: number, argv: readonly string[], { env = {}, timeoutMs, input }: RunOptions = {}): Promise<CommandResult> {
    const settings = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    return run([...this.#inside(host), "env", ...settings, ...argv], input, timeoutMs);
  }

  /** Starts a program on a host. It is killed when the test process ends. Its `pid` is that of the program itself. */
  spawn(host: number, argv: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    return this.spawnOutside(["ip", "netns", "exec", this.namespace(host), ...argv], env);
  }

  /** The same outside of all hosts, for a program that enters a namespace by itself. */
  spawnOutside(argv: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const args = ["--pdeathsig", "KILL", ...argv];
    return spawn("setpriv", args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
  }

  /** Pulls a host's cable or puts it back. Resolves, after "up", when traffic passes between it and everybody in its part. */
  async link(host: number, state: "up" | "down", network = 0): Promise<void> {
    this.namespace(host);
    await ip(this.#switch, [`link set ${port(host, network)} ${state}`]);
    if (state === "down") {
      this.#down.add(port(host, network));
      return;
    }
    this.#down.delete(port(host, network));
    await this.#settle(network, [host]);
  }

  /**
   * Splits the switch: hosts of different groups no longer hear each other, in any network, though no link goes down. Hosts that
   * are in no group stay with the first, and so does the switch's own address.
   */
  async cut(...groups: readonly (readonly number[])[]): Promise<void> {
    const partOf = (host: number): number =>
      Math.max(
        0,
        groups.findIndex((group) => group.includes(host)),
      );
    await this.#connect(partOf);
  }

  /** Ends a split. Resolves when traffic passes between all hosts whose cables are in. */
  async heal(): Promise<void> {
    const apart = this.#all().filter((host) => this.#parts.some((parts) => parts[host] !== 0));
    await this.#connect(() => 0);
    for (let network = 0; network < this.networks; network++) await this.#settle(network, apart);
  }

  /** Makes the namespaces, bridges and cables. Called once, by `startLan`. */
  async build(defaultRoute: boolean): Promise<void> {
    const names = [this.#switch, ...this.#all().map((host) => this.namespace(host))];
    await ip(
      undefined,
      names.map((name) => `netns add ${name}`),
    );
    const networks = Array.from({ length: this.networks }, (_, network) => network);
    const bridges = networks.flatMap((network) => [
      ...bridgeCommands(bridge(network, 0)),
      ...(this.#ipv6Only ? [] : [`addr add 10.77.${network}.${ROUTER}/24 dev ${bridge(network, 0)}`]),
      `addr add ${ip6(network, ROUTER)}/64 dev ${bridge(network, 0)} nodad`,
    ]);
    const cables = networks.flatMap((network) =>
      this.#all().flatMap((host) => [
        `link add ${port(host, network)} type veth peer name eth${network} netns ${this.namespace(host)}`,
        `link set ${port(host, network)} master ${bridge(network, 0)} up`,
      ]),
    );
    // Nobody else is here, so nothing is learnt from a second's wait for a duplicate of each address (RFC 4862 5.4).
    for (const name of names) await this.#withoutDuplicateDetection(name);
    await ip(this.#switch, ["link set lo up", ...bridges, ...cables]);
    await Promise.all(this.#all().map((host) => ip(this.namespace(host), this.#hostCommands(host, defaultRoute))));
    await Promise.all(networks.map((network) => this.#settle(network, this.#all(), false)));
  }

  /** Ends what runs inside and removes the namespaces. */
  async [Symbol.asyncDispose](): Promise<void> {
    await removeNamespaces([...this.#all().map((host) => this.namespace(host)), this.#switch]);
  }

  get #switch(): string {
    return `${this.#prefix}-sw`;
  }

  #all(): number[] {
    return Array.from({ length: this.hosts }, (_, host) => host);
  }

  #inside(host: number): string[] {
    return ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", this.namespace(host)];
  }

  #hostCommands(host: number, defaultRoute: boolean): string[] {
    const networks = Array.from({ length: this.networks }, (_, network) => network);
    return [
      "link set lo up",
      ...networks.flatMap((network) => [
        ...(this.#ipv6Only ? [] : [`addr add 10.77.${network}.${host + 1}/24 broadcast + dev eth${network}`]),
        `addr add ${this.address6(host, network)}/64 dev eth${network} nodad`,
        `link set eth${network} up`,
      ]),
      ...(defaultRoute && !this.#ipv6Only ? [`route add default via 10.77.0.${ROUTER}`] : []),
      ...(defaultRoute ? [`route add ::/0 via ${ip6(0, ROUTER)} dev eth0`] : []),
    ];
  }

  async #withoutDuplicateDetection(namespace: string): Promise<void> {
    const script = 'for part in all default; do echo 0 > "/proc/sys/net/ipv6/conf/$part/accept_dad"; done';
    const { code, stderr } = await run(["ip", "netns", "exec", namespace, "sh", "-c", script]);
    if (code !== 0) throw new Error(`IPv6 of ${namespace} cannot be set: ${stderr.trim()}`);
  }

  async #connect(partOf: (host: number) => number): Promise<void> {
    const wanted = this.#parts.map((parts) => parts.map((_part, host) => partOf(host)));
    const known = new Set(this.#parts.flatMap((parts, network) => parts.map((part) => bridge(network, part))));
    const missing = new Set(wanted.flatMap((parts, network) => parts.map((part) => bridge(network, part))));
    const commands = [...missing].filter((name) => !known.has(name) && !isMain(name)).flatMap(bridgeCommands);
    for (const [network, parts] of wanted.entries()) {
      for (const [host, part] of parts.entries()) {
        if (this.#parts[network]?.[host] !== part)
          commands.push(`link set ${port(host, network)} master ${bridge(network, part)}`);
      }
    }
    commands.push(
      ...[...known].filter((name) => !missing.has(name) && !isMain(name)).map((name) => `link del ${name}`),
    );
    if (commands.length > 0) await ip(this.#switch, commands);
    this.#parts.splice(0, this.#parts.length, ...wanted);
  }

  /**
   * Waits until traffic passes between some hosts and, in their part of a network, the switch and (unless `peers` is false) the
   * others: carrier, the port's forwarding state, tentative addresses and failed neighbour entries all take their time, the
   * first up to a second because the kernel batches changes of carrier.
   */
  async #settle(network: number, hosts: readonly number[], peers = true): Promise<void> {
    const isIn = (host: number): boolean => !this.#down.has(port(host, network));
    const parts = this.#parts[network] ?? [];
    const probes = hosts.filter(isIn).map((host) => {
      const others = peers ? this.#all().filter((one) => one !== host && isIn(one) && parts[one] === parts[host]) : [];
      const numbers = [...others.map((one) => one + 1), ...(parts[host] === 0 ? [ROUTER] : [])];
      return {
        namespace: this.namespace(host),
        addresses: numbers.flatMap((n) => [...(this.#ipv6Only ? [] : [`10.77.${network}.${n}`]), ip6(network, n)]),
      };
    });
    await Promise.all(probes.filter(({ addresses }) => addresses.length > 0).map(untilPassing));
  }
}

/** Makes a LAN; traffic passes between all hosts when it resolves. */
export async function startLan(options: LanOptions): Promise<Lan> {
  await removeStale();
  const lan = new Lan(options);
  try {
    await lan.build(options.defaultRoute ?? true);
    return lan;
  } catch (error) {
    await lan[Symbol.asyncDispose]();
    throw error;
  }
}

function ip6(network: number, host: number): string {
  return `fd77:0:0:${network}::${host.toString(16)}`;
}

function port(host: number, network: number): string {
  return `p${host}n${network}`;
}

function bridge(network: number, part: number): string {
  return part === 0 ? `lan${network}` : `lan${network}part${part}`;
}

function isMain(name: string): boolean {
  return !name.includes("part");
}

/** Without spanning tree a port forwards at once; without snooping nobody has to ask for multicast before it passes. */
function bridgeCommands(name: string): string[] {
  return [`link add ${name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`, `link set ${name} up`];
}
