// SPDX-License-Identifier: Apache-2.0
/**
 * Servers and keys in bucket `dv_dns`, as one entry: there are few of them, every change of records needs them all, and an entry is
 * read in one round trip. Read anew for each request, since an engine that adopts an operation has to see what is there now.
 */
import { DnsServer, type KeyPurpose, TsigKey } from "@debvisor/proto-events/dns-data";
import type { Bucket, Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { z } from "zod";
import type { Endpoint, TsigSecret } from "../drivers/bind.ts";
import { KeyRing, NO_KEYS, type RingDecision, ringKeys, signingKey } from "../model/key-ring.ts";
import { fingerprintOf, openSealed, Sealed, sealSecret } from "./key-seal.ts";

const KeyEntry = TsigKey.omit({ usedBy: true }).extend({ sealed: Sealed });
type KeyEntry = z.output<typeof KeyEntry>;

/** The entry of the bucket. */
export const DnsEntry = z.object({
  servers: z.array(DnsServer),
  keys: z.array(KeyEntry),
  ring: KeyRing.default(NO_KEYS).describe("Which of the keys the cluster made, and replaces."),
});
export type DnsEntry = z.output<typeof DnsEntry>;

const NOTHING: DnsEntry = { servers: [], keys: [], ring: NO_KEYS };

/** Its key. */
export const DNS_ENTRY = "dns";

/** All of it at one time. */
export interface DnsView {
  readonly servers: readonly DnsServer[];
  readonly keys: readonly TsigKey[];
  /** How a server is addressed; a primary with `key` instead of its own. @throws DNS_KEY_NOT_FOUND */
  endpoint(server: DnsServer, key?: string | null): Endpoint;
  /** @throws DNS_KEY_NOT_FOUND unless there is a key of that name that can be used */
  requireKey(name: string): void;
  readonly ring: KeyRing;
  /** A key with its secret. @throws DNS_KEY_NOT_FOUND */
  secretOf(name: string): TsigSecret;
}

/** Who stores something, and when. */
interface By {
  readonly actor: string;
  readonly at: string;
}

/** The order by which the ring is changed. */
export interface RingOrder {
  /** Throws when it is over; what passed is written only if nothing was since the look before it. */
  readonly pass: () => Promise<void>;
  /** Writes also what stands already, so that a change that it undoes, and that has passed, comes too late. */
  readonly undoes: boolean;
}

const MAX_TRIES = 8;

/** The store. */
export class DnsStore {
  readonly #bus: Pick<Bus, "bucket">;
  readonly #sealKey: string;
  #opened: Promise<Bucket<DnsEntry>> | undefined;

  constructor(bus: Pick<Bus, "bucket">, sealKey: string) {
    this.#bus = bus;
    this.#sealKey = sealKey;
  }

  /** @throws BUS_UNAVAILABLE */
  async view(): Promise<DnsView> {
    const entry = (await (await this.#bucket()).get(DNS_ENTRY))?.value ?? NOTHING;
    const { keys, ring } = entry;
    const servers = entry.servers.map((server) => ({ ...server, key: ownKey(server, ring) }));
    const view: DnsView = {
      ...{ servers, ring },
      keys: keys.map((key) => keyOf(key, { servers, ring })),
      requireKey: (name) => void this.#secretOf(keys, name),
      secretOf: (name) => this.#secretOf(keys, name),
      endpoint: ({ name, address, port, role, key: own, node }, other = null) => {
        const key = role === "primary" ? (other ?? own) : own;
        if (role === "primary" && key === null)
          throw new DvError("DNS_KEY_NOT_FOUND", `${name} has no key yet: dvctl dns keys rotate makes it one.`);
        const endpoint = { ...{ name, address, port }, key: key === null ? null : this.#secretOf(keys, key) };
        const isRenewed = node !== null && key !== null && key === own;
        return isRenewed ? { ...endpoint, renew: () => this.#renewed(name) } : endpoint;
      },
    };
    return view;
  }

  /** The key of a server as it is now. */
  async #renewed(name: string): Promise<TsigSecret | null> {
    const view = await this.view();
    return view.endpoint(findServer(view, name)).key;
  }

  /** Stores a server. @throws DNS_KEY_NOT_FOUND, BUS_UNAVAILABLE */
  async setServer(wanted: DnsServer): Promise<{ readonly server: DnsServer; readonly changed: boolean }> {
    let [server, changed] = [wanted, true];
    await this.#change((before) => {
      const { servers, keys } = before;
      if (wanted.key !== null && !keys.some(({ name }) => name === wanted.key)) throw noKey(wanted.key);
      const known = servers.find(({ name }) => name === wanted.name);
      // Who added it first, and when, stays.
      server = known ? { ...wanted, addedAt: known.addedAt, addedBy: known.addedBy } : wanted;
      changed = JSON.stringify(known) !== JSON.stringify(server);
      if (!changed) return undefined;
      refuseWhileRotating(before, [wanted, known]);
      const other = servers.find(({ name, node }) => node !== null && node === wanted.node && name !== wanted.name);
      if (other) throw new DvError("CONFLICT", `${other.name} is the DNS server of that node already.`);
      return { ...before, servers: [...servers.filter((one) => one !== known), server] };
    });
    return { server, changed };
  }

  /** Forgets a server. @throws DNS_SERVER_NOT_FOUND, BUS_UNAVAILABLE */
  async deleteServer(name: string): Promise<DnsServer> {
    let found: DnsServer | undefined;
    await this.#change((before) => {
      found = findServer(before, name);
      return { ...before, servers: before.servers.filter((one) => one !== found) };
    });
    return found ?? findServer({ servers: [] }, name);
  }

  /** Stores a key, sealed. @throws CONFLICT when there is one of that name with another secret, DNS_KEY_INVALID, BUS_UNAVAILABLE */
  async setKey(key: TsigSecret, by: By): Promise<{ readonly key: TsigKey; readonly changed: boolean }> {
    const { name, algorithm, secret } = key;
    const fingerprint = fingerprintOf(secret);
    const entry = this.#sealed(key, null, by);
    let changed = false;
    const after = await this.#change((before) => {
      const known = before.keys.find((one) => one.name === name);
      changed = false;
      if (known && openSealed(this.#sealKey, name, known.sealed) !== undefined) {
        if (known.fingerprint === fingerprint && known.algorithm === algorithm) return undefined;
        throw new DvError("CONFLICT", `A key ${name} with another secret is stored already.`, {
          details: { stored: known.fingerprint, given: fingerprint, hint: "Give the new key a name of its own." },
        });
      }
      changed = true;
      return { ...before, keys: [...before.keys.filter((one) => one !== known), entry] };
    });
    return { key: keyOf(keyNamed(after.keys, name), after), changed };
  }

  /** Forgets a key. @throws DNS_KEY_NOT_FOUND, CONFLICT while a server uses it, BUS_UNAVAILABLE */
  async deleteKey(name: string): Promise<TsigKey> {
    let found: TsigKey | undefined;
    await this.#change((before) => {
      const entry = keyNamed(before.keys, name);
      found = keyOf(entry, before);
      if (ringKeys(before.ring).some((one) => one.name === name))
        throw new DvError(
          "CONFLICT",
          `The key ${name} is one of the cluster's own; dvctl dns keys rotate replaces it.`,
        );
      if (found.usedBy.length > 0)
        throw new DvError("CONFLICT", `The key ${name} signs for ${found.usedBy.join(", ")}.`, {
          details: { hint: "Give these servers another key first, or remove them." },
        });
      return { ...before, keys: before.keys.filter((one) => one !== entry) };
    });
    if (!found) throw noKey(name);
    return found;
  }

  /**
   * Changes the ring as it is decided on the newest one. Keys that come into it are made by `make` and sealed; keys that leave it are
   * forgotten. `order`: who changes it, asked after each look. Returns the ring as it is then. @throws CONFLICT when it is refused,
   * BUS_UNAVAILABLE, what `order` throws
   */
  async changeRing(
    decide: (ring: KeyRing) => RingDecision,
    make: (name: string) => TsigSecret,
    by: By,
    order?: RingOrder,
  ): Promise<KeyRing> {
    const { ring } = await this.#change((before) => {
      const decision = decide(before.ring);
      if (decision.kind === "refused") throw new DvError("CONFLICT", `The keys stay as they are: ${decision.why}.`);
      if (decision.kind === "done") return order?.undoes ? { ...before } : undefined;
      const had = new Set(ringKeys(before.ring).map(({ name }) => name));
      const has = ringKeys(decision.ring);
      const names = new Set(has.map(({ name }) => name));
      const fresh = has.filter(({ name }) => !had.has(name));
      return {
        servers: before.servers,
        ring: decision.ring,
        keys: [
          ...before.keys.filter(({ name }) => !had.has(name) || names.has(name)),
          ...fresh.map(({ purpose, name }) => this.#sealed(make(name), purpose, by)),
        ],
      };
    }, order?.pass);
    return ring;
  }

  #sealed(key: TsigSecret, purpose: KeyPurpose | null, by: By): KeyEntry {
    const { name, algorithm, secret } = key;
    const sealed = sealSecret(this.#sealKey, name, secret);
    return {
      name,
      algorithm,
      fingerprint: fingerprintOf(secret),
      purpose,
      sealed,
      storedAt: by.at,
      storedBy: by.actor,
    };
  }

  #secretOf(keys: readonly KeyEntry[], name: string): TsigSecret {
    const entry = keyNamed(keys, name);
    const secret = openSealed(this.#sealKey, name, entry.sealed);
    if (secret === undefined) throw noKey(name);
    return { name, algorithm: entry.algorithm, secret };
  }

  /**
   * Decides on what is there and writes by compare-and-set, again after a conflict. Undefined leaves it alone. `pass`: may throw
   * between the look and the write.
   */
  async #change(decide: (before: DnsEntry) => DnsEntry | undefined, pass?: () => Promise<void>): Promise<DnsEntry> {
    const bucket = await this.#bucket();
    for (let tries = 0; ; tries++) {
      const before = await bucket.get(DNS_ENTRY);
      await pass?.();
      const known = before?.value ?? NOTHING;
      const value = decide(known);
      if (value === undefined) return known;
      value.servers.sort((a, b) => a.name.localeCompare(b.name));
      value.keys.sort((a, b) => a.name.localeCompare(b.name));
      try {
        await (before ? bucket.update(DNS_ENTRY, value, before.revision) : bucket.create(DNS_ENTRY, value));
        return value;
      } catch (error) {
        if (toDvError(error).code !== "CONFLICT" || tries >= MAX_TRIES) throw error;
      }
    }
  }

  /** Opened once; an attempt that failed is made again. */
  #bucket(): Promise<Bucket<DnsEntry>> {
    this.#opened ??= this.#bus.bucket("dv_dns", DnsEntry).catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}

/** The server of that name. @throws DNS_SERVER_NOT_FOUND */
export function findServer({ servers }: Pick<DnsView, "servers">, name: string): DnsServer {
  const found = servers.find((server) => server.name === name);
  if (!found)
    throw new DvError("DNS_SERVER_NOT_FOUND", `No DNS server is called ${name}.`, { details: { server: name } });
  return found;
}

function keyNamed(keys: readonly KeyEntry[], name: string): KeyEntry {
  const found = keys.find((key) => key.name === name);
  if (!found) throw noKey(name);
  return found;
}

function noKey(name: string): DvError {
  return new DvError("DNS_KEY_NOT_FOUND", `No usable key is called ${name}.`, { details: { key: name } });
}

/** A server of a member is signed for by the cluster's own key, as soon as there is one. */
function ownKey({ role, node, key }: DnsServer, ring: KeyRing): string | null {
  return (role === "primary" && node !== null ? signingKey(ring, "node") : null) ?? key;
}

/** A server that comes while keys are replaced would have neither. One that goes is left out from then on. @throws CONFLICT */
function refuseWhileRotating({ ring }: DnsEntry, servers: readonly (DnsServer | undefined)[]): void {
  const [one] = servers.filter((server) => server !== undefined && server.node !== null);
  if (ring.rotation && one)
    throw new DvError("CONFLICT", `${ring.rotation.operation} replaces the keys of ${one.name}; wait for its end.`, {
      details: { operation: ring.rotation.operation, hint: "If it was given up, rotate the keys anew." },
    });
}

function keyOf({ sealed: _sealed, ...key }: KeyEntry, { servers, ring }: Pick<DnsEntry, "servers" | "ring">): TsigKey {
  const { name, purpose } = key;
  const has = (server: DnsServer) =>
    purpose === null
      ? server.key === name
      : server.node !== null && (server.role === "primary" || purpose === "transfer");
  const isOwn = purpose === null || ringKeys(ring).some((one) => one.name === name);
  return { ...key, usedBy: isOwn ? servers.filter(has).map((server) => server.name) : [] };
}
