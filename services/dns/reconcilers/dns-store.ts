// SPDX-License-Identifier: Apache-2.0
/**
 * Servers and keys in bucket `dv_dns`, as one entry: there are few of them, every change of records needs them all, and an entry is
 * read in one round trip. Read anew for each request, since an engine that adopts an operation has to see what is there now.
 */
import { DnsServer, TsigKey } from "@debvisor/proto-events/dns-data";
import type { Bucket, Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { z } from "zod";
import type { Endpoint, TsigSecret } from "../drivers/bind.ts";
import { fingerprintOf, openSealed, Sealed, sealSecret } from "./key-seal.ts";

const KeyEntry = TsigKey.omit({ usedBy: true }).extend({ sealed: Sealed });
type KeyEntry = z.output<typeof KeyEntry>;

/** The entry of the bucket. */
export const DnsEntry = z.object({ servers: z.array(DnsServer), keys: z.array(KeyEntry) });
export type DnsEntry = z.output<typeof DnsEntry>;

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
    const { servers, keys } = (await (await this.#bucket()).get(DNS_ENTRY))?.value ?? { servers: [], keys: [] };
    return {
      servers,
      keys: keys.map((key) => keyOf(key, servers)),
      requireKey: (name) => void this.#secretOf(keys, name),
      endpoint: ({ name, address, port, role, key: own }, other = null) => {
        const key = role === "primary" ? (other ?? own) : own;
        return { ...{ name, address, port }, key: key === null ? null : this.#secretOf(keys, key) };
      },
    };
  }

  /** Stores a server. @throws DNS_KEY_NOT_FOUND, BUS_UNAVAILABLE */
  async setServer(wanted: DnsServer): Promise<{ readonly server: DnsServer; readonly changed: boolean }> {
    let [server, changed] = [wanted, true];
    await this.#change(({ servers, keys }) => {
      if (wanted.key !== null && !keys.some(({ name }) => name === wanted.key)) throw noKey(wanted.key);
      const known = servers.find(({ name }) => name === wanted.name);
      // Who added it first, and when, stays.
      server = known ? { ...wanted, addedAt: known.addedAt, addedBy: known.addedBy } : wanted;
      changed = JSON.stringify(known) !== JSON.stringify(server);
      return changed ? { servers: [...servers.filter((one) => one !== known), server], keys } : undefined;
    });
    return { server, changed };
  }

  /** Forgets a server. @throws DNS_SERVER_NOT_FOUND, BUS_UNAVAILABLE */
  async deleteServer(name: string): Promise<DnsServer> {
    let found: DnsServer | undefined;
    await this.#change(({ servers, keys }) => {
      found = findServer({ servers }, name);
      return { servers: servers.filter((one) => one !== found), keys };
    });
    return found ?? findServer({ servers: [] }, name);
  }

  /** Stores a key, sealed. @throws CONFLICT when there is one of that name with another secret, DNS_KEY_INVALID, BUS_UNAVAILABLE */
  async setKey(key: TsigSecret, by: { readonly actor: string; readonly at: string }): Promise<TsigKey> {
    const { name, algorithm, secret } = key;
    const fingerprint = fingerprintOf(secret);
    const sealed = sealSecret(this.#sealKey, name, secret);
    const { servers, keys } = await this.#change((before) => {
      const known = before.keys.find((one) => one.name === name);
      if (known && openSealed(this.#sealKey, name, known.sealed) !== undefined) {
        if (known.fingerprint === fingerprint && known.algorithm === algorithm) return undefined;
        throw new DvError("CONFLICT", `A key ${name} with another secret is stored already.`, {
          details: { stored: known.fingerprint, given: fingerprint, hint: "Give the new key a name of its own." },
        });
      }
      const entry = { name, algorithm, fingerprint, sealed, storedAt: by.at, storedBy: by.actor };
      return { ...before, keys: [...before.keys.filter((one) => one !== known), entry] };
    });
    return keyOf(keyNamed(keys, name), servers);
  }

  /** Forgets a key. @throws DNS_KEY_NOT_FOUND, CONFLICT while a server uses it, BUS_UNAVAILABLE */
  async deleteKey(name: string): Promise<TsigKey> {
    let found: TsigKey | undefined;
    await this.#change(({ servers, keys }) => {
      const entry = keyNamed(keys, name);
      found = keyOf(entry, servers);
      if (found.usedBy.length > 0)
        throw new DvError("CONFLICT", `The key ${name} signs for ${found.usedBy.join(", ")}.`, {
          details: { hint: "Give these servers another key first, or remove them." },
        });
      return { servers, keys: keys.filter((one) => one !== entry) };
    });
    if (!found) throw noKey(name);
    return found;
  }

  #secretOf(keys: readonly KeyEntry[], name: string): TsigSecret {
    const entry = keyNamed(keys, name);
    const secret = openSealed(this.#sealKey, name, entry.sealed);
    if (secret === undefined) throw noKey(name);
    return { name, algorithm: entry.algorithm, secret };
  }

  /** Decides on what is there and writes by compare-and-set, again after a conflict. Undefined leaves it alone. */
  async #change(decide: (before: DnsEntry) => DnsEntry | undefined): Promise<DnsEntry> {
    const bucket = await this.#bucket();
    for (let tries = 0; ; tries++) {
      const before = await bucket.get(DNS_ENTRY);
      const known = before?.value ?? { servers: [], keys: [] };
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

function keyOf({ sealed: _sealed, ...key }: KeyEntry, servers: readonly DnsServer[]): TsigKey {
  return { ...key, usedBy: servers.filter((server) => server.key === key.name).map(({ name }) => name) };
}
