// SPDX-License-Identifier: Apache-2.0
/**
 * mDNS as DebVisor uses it: say that this node is here, see who else is, on chosen interfaces. Used by the discovery
 * service and by commands before any cluster exists. mDNS supplies addresses and things to display, never a decision
 * (RULES.md 1). A killed node never says goodbye: liveness is the heartbeat's business.
 */
import { type Clock, systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { type Candidate, type CandidateChange, Candidates } from "./mdns-candidates.ts";
import { addressesFor, type MdnsInterface, resolveInterfaces } from "./mdns-interfaces.ts";
import { type MdnsPort, openPort } from "./mdns-port.ts";
import { type Announcement, buildRecords, checkAnnouncement, type MdnsTxt } from "./mdns-records.ts";

/** Options of `createMdns`. */
export interface MdnsOptions {
  /** Interface names and IPv4 addresses; empty: every interface that is not internal. */
  readonly interfaces: readonly string[];
  /** Told of every failure after the start. Without it bonjour-service would throw from its socket. */
  readonly onError: (error: DvError) => void;
  /** Recognises tags of our own cluster. Default: none is recognised. */
  readonly verify?: (txt: MdnsTxt) => boolean;
  /** Whether to start without a usable interface and wait for one (a node that has no address yet). Default false. */
  readonly wait?: boolean;
  /** Milliseconds between looks at the host's interfaces; default 5,000. */
  readonly interfaceCheckMs?: number;
  readonly clock?: Clock;
}

/** Options of `browse`. */
export interface BrowseOptions {
  /** Milliseconds between questions, of whoever asks: a question heard from a neighbour counts. Default 10,000. */
  readonly refreshMs?: number;
  /** Milliseconds of silence after which an instance is dropped; default six refreshes. */
  readonly expireMs?: number;
}

/** A running announcement. */
export interface Advertisement {
  /** Changes TXT fields; neighbours see it at once. @throws INVALID_ARGUMENT when it would not fit */
  update(txt: Partial<MdnsTxt>): void;
  /** Says goodbye; resolves within 300 ms. */
  stop(): Promise<void>;
}

/** A running browse. */
export interface Browse {
  /** Every instance seen now, the own one included, at most 256. */
  list(): Candidate[];
  stop(): void;
}

/** mDNS on a set of interfaces. */
export interface Mdns {
  /** Addresses in use now. */
  readonly interfaces: readonly string[];
  /** Announces this node; one announcement at a time. @throws INVALID_ARGUMENT, CONFLICT */
  advertise(announcement: Announcement): Advertisement;
  /** Reports instances as they come, change and go. */
  browse(onChange: (change: CandidateChange) => void, options?: BrowseOptions): Browse;
  /** Asks, listens for `ms` milliseconds and returns who answered. Ends early, with what there is, on abort. */
  scan(ms: number, signal?: AbortSignal): Promise<Candidate[]>;
  /** Says goodbye and closes the sockets. Resolves within 600 ms. */
  close(): Promise<void>;
}

/** A burst of questions at the start, since the first packets on a fresh network are often lost. */
const FIRST_QUESTIONS_MS = [0, 250, 1_000, 3_000];

/** Opens mDNS. @throws MDNS_UNAVAILABLE when an interface is missing or cannot be used, unless `wait` is set */
export async function createMdns(options: MdnsOptions): Promise<Mdns> {
  const mdns = new MdnsSession(options);
  await mdns.start();
  return mdns;
}

interface Listener {
  readonly candidates: Candidates;
  readonly onChange: (change: CandidateChange) => void;
  lastQuestion: number;
}

class MdnsSession implements Mdns {
  readonly #options: MdnsOptions;
  readonly #clock: Clock;
  readonly #ports = new Map<string, MdnsPort>();
  readonly #listeners = new Set<Listener>();
  #announcement: Announcement | undefined;
  #publishedAs = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #complaint = "";

  constructor(options: MdnsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  async start(): Promise<void> {
    const { found, missing } = resolveInterfaces(this.#options.interfaces);
    if (!this.#options.wait && (missing.length > 0 || found.length === 0)) throw noInterface(missing);
    this.#sync(found, missing);
    const failed = (await Promise.allSettled([...this.#ports.values()].map(({ ready }) => ready))).find(
      ({ status }) => status === "rejected",
    );
    if (failed?.status === "rejected" && !this.#options.wait) {
      await this.close();
      throw failed.reason;
    }
    this.#timer = setInterval(() => this.#look(), this.#options.interfaceCheckMs ?? 5_000).unref();
  }

  get interfaces(): readonly string[] {
    return [...this.#ports.keys()];
  }

  advertise(announcement: Announcement): Advertisement {
    if (this.#announcement) throw new DvError("CONFLICT", "This mDNS session announces an instance already.");
    this.#announcement = checkAnnouncement(announcement);
    this.#publish();
    return {
      update: (txt) => {
        if (!this.#announcement) return;
        this.#announcement = checkAnnouncement({ ...this.#announcement, txt: { ...this.#announcement.txt, ...txt } });
        this.#publish();
      },
      stop: () => this.#withdraw(),
    };
  }

  browse(onChange: (change: CandidateChange) => void, options: BrowseOptions = {}): Browse {
    const { refreshMs = 10_000, expireMs = refreshMs * 6 } = options;
    const { verify } = this.#options;
    const { now, monotonic } = this.#clock;
    const candidates = new Candidates({ now, monotonic, ...(verify ? { verify } : {}) });
    const listener: Listener = { candidates, onChange, lastQuestion: Number.NEGATIVE_INFINITY };
    this.#listeners.add(listener);
    const first = FIRST_QUESTIONS_MS.map((ms) => setTimeout(() => this.#ask(), ms).unref());
    const tick = () => {
      for (const change of candidates.expire(expireMs)) onChange(change);
      // Answers are multicast: with one question per period on the whole network, every browser hears them all.
      const spread = 0.8 + Math.random() * 0.4;
      if (monotonic() - listener.lastQuestion >= refreshMs * spread) this.#ask();
    };
    const timer = setInterval(tick, Math.max(50, refreshMs / 5)).unref();
    const stop = () => {
      for (const one of [...first, timer]) clearTimeout(one);
      this.#listeners.delete(listener);
    };
    return { list: () => candidates.list(), stop };
  }

  async scan(ms: number, signal?: AbortSignal): Promise<Candidate[]> {
    const browse = this.browse(() => undefined);
    await this.#clock.sleep(ms, signal);
    browse.stop();
    return browse.list();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listeners.clear();
    await this.#withdraw();
    await Promise.all([...this.#ports.values()].map((port) => port.close()));
    this.#ports.clear();
  }

  #ask(): void {
    for (const port of this.#ports.values()) port.query();
  }

  #publish(): void {
    const announcement = this.#announcement;
    if (!announcement) return;
    for (const port of this.#ports.values()) {
      const records = buildRecords(announcement, addressesFor(port.at));
      const look = JSON.stringify(records);
      if (this.#publishedAs.get(port.at.address) === look) continue;
      this.#publishedAs.set(port.at.address, look);
      port.publish(records);
    }
  }

  async #withdraw(): Promise<void> {
    this.#announcement = undefined;
    this.#publishedAs = new Map();
    await Promise.all([...this.#ports.values()].map((port) => port.withdraw()));
  }

  /** Follows the host: interfaces come (DHCP, a cable) and go, addresses change. */
  #look(): void {
    const { found, missing } = resolveInterfaces(this.#options.interfaces);
    this.#sync(found, missing);
    this.#publish();
  }

  #sync(found: readonly MdnsInterface[], missing: readonly string[]): void {
    const complaint = found.length === 0 || missing.length > 0 ? missing.join(" ") || "none" : "";
    if (complaint !== "" && complaint !== this.#complaint) this.#options.onError(noInterface(missing));
    this.#complaint = complaint;
    for (const [address, port] of this.#ports) {
      if (!found.some((one) => one.address === address)) this.#drop(port);
    }
    for (const at of found) {
      if (!this.#ports.has(at.address)) this.#open(at);
    }
  }

  #open(at: MdnsInterface): void {
    const port = openPort(at, {
      onResponse: (packet, sender, local) => this.#receive(packet, sender, local),
      onQuestion: () => {
        for (const listener of this.#listeners) listener.lastQuestion = this.#clock.monotonic();
      },
      onError: (error) => this.#options.onError(error),
    });
    this.#ports.set(at.address, port);
    // A port that cannot be bound is dropped, so that the next look tries again.
    port.ready.then(
      () => this.#listeners.size > 0 && port.query(),
      () => this.#drop(port),
    );
  }

  #drop(port: MdnsPort): void {
    this.#ports.delete(port.at.address);
    this.#publishedAs.delete(port.at.address);
    void port.close();
  }

  #receive(packet: unknown, sender: string, at: string): void {
    for (const { candidates, onChange } of this.#listeners) {
      for (const change of candidates.receive(packet, sender, at)) onChange(change);
    }
  }
}

function noInterface(missing: readonly string[]): DvError {
  const what =
    missing.length > 0
      ? `No interface has the name or address ${missing.join(", ")}.`
      : "No interface has an IPv4 address.";
  return new DvError("MDNS_UNAVAILABLE", what, { details: { missing } });
}
