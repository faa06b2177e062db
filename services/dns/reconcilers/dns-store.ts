// SPDX-License-Identifier: Apache-2.0
/**
 * Servers and keys in bucket `dv_dns`. Read anew for each request: there are few of them, and an engine that adopts an operation has
 * to see what is there now.
 */
import { DnsServer, TsigKey } from "@debvisor/proto-events/dns-data";
import type { Bucket, BucketEntry, Bus } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { z } from "zod";
import type { Endpoint, TsigSecret } from "../drivers/bind.ts";
import { fingerprintOf, openSealed, Sealed, sealSecret } from "./key-seal.ts";

const KeyEntry = TsigKey.omit({ usedBy: true }).extend({ kind: z.literal("key"), sealed: Sealed });
type KeyEntry = z.output<typeof KeyEntry>;

/** An entry of the bucket, keyed `server.<name>` or `key.<name>`. */
export const DnsEntry = z.discriminatedUnion("kind", [DnsServer.extend({ kind: z.literal("server") }), KeyEntry]);
export type DnsEntry = z.output<typeof DnsEntry>;

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

  constructor(bus: Pick<Bus, "bucket">, sealKey: string) {
    this.#bus = bus;
    this.#sealKey = sealKey;
  }

  /** @throws BUS_UNAVAILABLE */
  async view(): Promise<DnsView> {
    const entries = (await (await this.#bucket()).list()).map(({ value }) => value);
    const servers = entries.flatMap((entry) => (entry.kind === "server" ? [serverOf(entry)] : []));
    const keys = entries.filter((entry) => entry.kind === "key");
    return {
      servers: servers.sort((a, b) => a.name.localeCompare(b.name)),
      keys: keys.map((key) => keyOf(key, servers)).sort((a, b) => a.name.localeCompare(b.name)),
      requireKey: (name) => void this.#secretOf(keys, name),
      endpoint: ({ name, address, port, role, key: own }, other = null) => {
        const key = role === "primary" ? (other ?? own) : own;
        return { ...{ name, address, port }, key: key === null ? null : this.#secretOf(keys, key) };
      },
    };
  }

  /** Stores a server. @throws DNS_KEY_NOT_FOUND, BUS_UNAVAILABLE */
  async setServer(wanted: DnsServer): Promise<{ readonly server: DnsServer; readonly changed: boolean }> {
    const { keys } = await this.view();
    if (wanted.key !== null && !keys.some(({ name }) => name === wanted.key)) throw noKey(wanted.key);
    const { addedAt: _at, addedBy: _by, ...fresh } = wanted;
    let changed = false;
    const entry = await this.#change(`server.${wanted.name}`, (before) => {
      if (before?.kind === "server") {
        const { addedAt, addedBy, kind: _kind, ...known } = before;
        changed = JSON.stringify(known) !== JSON.stringify(fresh);
        return changed ? { ...wanted, addedAt, addedBy, kind: "server" } : undefined;
      }
      changed = true;
      return { ...wanted, kind: "server" };
    });
    return { server: serverOf(entry as DnsEntry & { kind: "server" }), changed };
  }

  /** Forgets a server. @throws DNS_SERVER_NOT_FOUND, BUS_UNAVAILABLE */
  async deleteServer(name: string): Promise<DnsServer> {
    const bucket = await this.#bucket();
    const entry = await bucket.get(`server.${name}`);
    if (entry?.value.kind !== "server") throw noServer(name);
    await bucket.delete(entry.key, entry.revision);
    return serverOf(entry.value);
  }

  /** Stores a key, sealed. @throws CONFLICT when there is one of that name with another secret, DNS_KEY_INVALID, BUS_UNAVAILABLE */
  async setKey(key: TsigSecret, by: { readonly actor: string; readonly at: string }): Promise<TsigKey> {
    const fingerprint = fingerprintOf(key.secret);
    const entry = await this.#change(`key.${key.name}`, (before) => {
      if (before?.kind === "key" && openSealed(this.#sealKey, key.name, before.sealed) !== undefined) {
        if (before.fingerprint === fingerprint && before.algorithm === key.algorithm) return undefined;
        throw new DvError("CONFLICT", `A key ${key.name} with another secret is stored already.`, {
          details: { stored: before.fingerprint, given: fingerprint, hint: "Give the new key a name of its own." },
        });
      }
      const sealed = sealSecret(this.#sealKey, key.name, key.secret);
      const { name, algorithm } = key;
      return { kind: "key", name, algorithm, fingerprint, sealed, storedAt: by.at, storedBy: by.actor };
    });
    return keyOf(entry as KeyEntry, (await this.view()).servers);
  }

  /** Forgets a key. @throws DNS_KEY_NOT_FOUND, CONFLICT while a server uses it, BUS_UNAVAILABLE */
  async deleteKey(name: string): Promise<TsigKey> {
    const bucket = await this.#bucket();
    const entry = await bucket.get(`key.${name}`);
    if (entry?.value.kind !== "key") throw noKey(name);
    const key = keyOf(entry.value, (await this.view()).servers);
    if (key.usedBy.length > 0)
      throw new DvError("CONFLICT", `The key ${name} signs for ${key.usedBy.join(", ")}.`, {
        details: { hint: "Give these servers another key first, or remove them." },
      });
    await bucket.delete(entry.key, entry.revision);
    return key;
  }

  #secretOf(keys: readonly KeyEntry[], name: string): TsigSecret {
    const entry = keys.find((key) => key.name === name);
    const secret = entry && openSealed(this.#sealKey, name, entry.sealed);
    if (!entry || secret === undefined) throw noKey(name);
    return { name, algorithm: entry.algorithm, secret };
  }

  /** Decides on what is there and writes by compare-and-set, again after a conflict. Undefined leaves it alone. */
  async #change(key: string, decide: (before: DnsEntry | undefined) => DnsEntry | undefined): Promise<DnsEntry> {
    const bucket = await this.#bucket();
    for (let tries = 0; ; tries++) {
      const before: BucketEntry<DnsEntry> | undefined = await bucket.get(key);
      const value = decide(before?.value);
      if (value === undefined && before) return before.value;
      if (value === undefined) throw new DvError("INTERNAL", `Nothing was decided about ${key}.`);
      try {
        await (before ? bucket.update(key, value, before.revision) : bucket.create(key, value));
        return value;
      } catch (error) {
        if (toDvError(error).code !== "CONFLICT" || tries >= MAX_TRIES) throw error;
      }
    }
  }

  #bucket(): Promise<Bucket<DnsEntry>> {
    return this.#bus.bucket("dv_dns", DnsEntry);
  }
}

/** The server of that name. @throws DNS_SERVER_NOT_FOUND */
export function findServer({ servers }: Pick<DnsView, "servers">, name: string): DnsServer {
  const found = servers.find((server) => server.name === name);
  if (!found) throw noServer(name);
  return found;
}

function noServer(name: string): DvError {
  return new DvError("DNS_SERVER_NOT_FOUND", `No DNS server is called ${name}.`, { details: { server: name } });
}

function noKey(name: string): DvError {
  return new DvError("DNS_KEY_NOT_FOUND", `No usable key is called ${name}.`, { details: { key: name } });
}

function serverOf({ kind: _kind, ...server }: DnsServer & { kind: "server" }): DnsServer {
  return server;
}

function keyOf({ kind: _kind, sealed: _sealed, ...key }: KeyEntry, servers: readonly DnsServer[]): TsigKey {
  return { ...key, usedBy: servers.filter((server) => server.key === key.name).map(({ name }) => name) };
}
