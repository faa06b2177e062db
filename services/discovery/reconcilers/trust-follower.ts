// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps a server's authorities, keys and certificate as entry `trust` of the membership says. A key that it lacks it is given by another
 * server over the join port; each step of a rotation waits until every server has come that far (ADR-0024).
 */
import { existsSync, readFileSync } from "node:fs";
import type { Authority, TrustEntry } from "@debvisor/proto-events/membership";
import type { TrustHolding } from "@debvisor/proto-events/trust";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { nodePaths, type ServerSecrets, writePrivateFile } from "@debvisor/shared/node-files";
import { createAuthority, createRequest, signCertificate } from "@debvisor/shared/pki/authority";
import { certificateFacts, certificatesIn, isKeyOf, issuerAmong } from "@debvisor/shared/pki/certificate";
import { certificateAddresses, writeTls } from "../joining/take-up.ts";
import { isDue } from "../model/certificates.ts";
import { faultOf, firstTrust, TRUST_KEY } from "../model/trust.ts";
import type { MembershipStore } from "./membership-store.ts";
import type { SecretsFile } from "./secrets-file.ts";

/** Certificate and key of an authority, PEM. */
type Keyed = ServerSecrets["authority"];

export interface TrustFollowerDeps {
  readonly store: MembershipStore;
  readonly secrets: SecretsFile;
  /** Folder with the node's files. */
  readonly dir: string;
  readonly node: string;
  /** Asks the other servers, one after the other, until `wanted` finds in an answer what it is after. */
  readonly askOthers: (wanted: (secrets: ServerSecrets) => boolean) => Promise<void>;
  /** Whether the nats-server of this machine goes by the files. */
  readonly isInForce: () => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The authority that issues now, of those whose key a server has. @throws UNAVAILABLE when it lacks that one */
export function issuingAuthority(secrets: ServerSecrets, entry: TrustEntry | undefined): Keyed {
  if (!entry) return secrets.authority;
  const found = keyedIn(secrets).get(entry.issuer);
  if (!found) throw new DvError("UNAVAILABLE", "This server does not have the key of the authority yet.");
  return found;
}

/** Certificates that members believe, PEM. */
export function believedBundle(secrets: ServerSecrets, entry: TrustEntry | undefined): string {
  return entry?.authorities.map(({ certificate }) => certificate).join("") ?? secrets.authority.certificatePem;
}

/** An authority as the membership shows it. */
export function authorityOf(certificate: string): Authority {
  const { fingerprint, notAfter } = certificateFacts(certificate);
  return { fingerprint, certificate, notAfter: notAfter.toISOString() };
}

/** What a node's files say; of the keys only a server knows. */
export function holdingIn(dir: string): Pick<TrustHolding, "authorities" | "issuer"> {
  const { ca, certificate } = nodePaths(dir).tls;
  const bundle = readFileSync(ca, "utf8");
  return {
    authorities: certificatesIn(bundle).map(({ fingerprint }) => fingerprint),
    issuer: issuerAmong(readFileSync(certificate, "utf8"), bundle) ?? null,
  };
}

/** See above. */
export class TrustFollower {
  readonly #deps: TrustFollowerDeps;
  #running: Promise<void> | undefined;

  constructor(deps: TrustFollowerDeps) {
    this.#deps = deps;
  }

  /** Brings keys and files in step, and the certificate when it is due. @throws UNAVAILABLE when nobody gives it a key that it lacks */
  takeUp(): Promise<void> {
    this.#running ??= this.#takeUp().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** The same on what the bucket has, and what the server holds then. @throws UNAVAILABLE, BUS_UNAVAILABLE */
  async holding(): Promise<TrustHolding> {
    await this.#running?.catch(() => undefined);
    const entry = await this.#deps.store.fresh(TRUST_KEY);
    await this.takeUp();
    return await this.#holding(entry?.kind === "trust" ? entry : undefined);
  }

  /**
   * An authority that is to follow, made for an operation: the same whenever that operation asks again here, because an attempt that
   * nobody waits for any more may still enter it. Its key is on the disk before this returns.
   */
  async stage(operation: string): Promise<Authority> {
    const { secrets, clock } = this.#deps;
    if (secrets.current.next?.operation !== operation) {
      const made = await createAuthority(secrets.current.cluster, new Date(clock.now()));
      // Another attempt may have been quicker.
      if (secrets.current.next?.operation !== operation)
        secrets.write({ ...secrets.current, next: { ...made, operation } });
    }
    return authorityOf(secrets.current.next?.certificatePem ?? "");
  }

  async #takeUp(): Promise<void> {
    const { store, dir } = this.#deps;
    const entry = store.trust() ?? (await this.#enterFirst());
    if (!existsSync(nodePaths(dir).tls.certificate)) return;
    await this.#getKeys(entry);
    await this.#writeFiles(entry);
    await this.#confirm(entry);
  }

  /** All servers of a cluster that was founded before have the same authority, so that any of them may say so. */
  async #enterFirst(): Promise<TrustEntry> {
    const first = firstTrust(authorityOf(this.#deps.secrets.current.authority.certificatePem));
    return (await this.#deps.store.change<TrustEntry>(TRUST_KEY, (entry) => (entry ? undefined : first))) ?? first;
  }

  /** Has exactly the keys that the entry names, and one that a step has made but not entered yet. */
  async #getKeys(entry: TrustEntry): Promise<void> {
    const { secrets, askOthers, log } = this.#deps;
    const keys = keyedIn(secrets.current);
    const missing = () => entry.authorities.filter(({ fingerprint }) => !keys.has(fingerprint));
    if (missing().length > 0) {
      await askOthers((theirs) => {
        for (const [fingerprint, keyed] of keyedIn(theirs)) if (isGenuine(keyed)) keys.set(fingerprint, keyed);
        return missing().length === 0;
      });
      if (missing().length > 0)
        throw new DvError("UNAVAILABLE", "No server has given this one the key of the new authority yet.");
      log.info({ generation: entry.generation }, "trust: another server has given this one the new authority's key");
    }
    const [authority, next] = entry.authorities.map(({ fingerprint }) => keys.get(fingerprint));
    if (!authority) return;
    const { next: staged, ...others } = secrets.current;
    const { certificatePem, keyPem } = next ?? {};
    const operation = entry.order?.operation ?? "";
    // One that an operation made and has not entered yet waits beside the others; one that was entered is where the entry says.
    const waits =
      staged !== undefined && staged.operation !== operation && !isNamed(entry, authorityOf(staged.certificatePem));
    const following =
      certificatePem !== undefined && keyPem !== undefined
        ? {
            certificatePem,
            keyPem,
            operation: staged?.certificatePem === certificatePem ? staged.operation : operation,
          }
        : waits
          ? staged
          : undefined;
    const { certificatePem: own, keyPem: key } = authority;
    secrets.write({
      ...others,
      authority: { certificatePem: own, keyPem: key },
      ...(following ? { next: following } : {}),
    });
  }

  /** The certificate first where an authority goes, the authorities first where one comes: `writeTls` writes both at once. */
  async #writeFiles(entry: TrustEntry): Promise<void> {
    const { store, secrets, dir, node, clock, log } = this.#deps;
    const own = store.member(node);
    if (!own) return;
    const { ca, certificate } = nodePaths(dir).tls;
    const bundle = believedBundle(secrets.current, entry);
    const shown = readFileSync(certificate, "utf8");
    if (issuerAmong(shown, bundle) === entry.issuer && !isDue(certificateFacts(shown), clock.now())) {
      if (readFileSync(ca, "utf8") !== bundle) writePrivateFile(ca, bundle);
      return;
    }
    const { requestPem, keyPem } = await createRequest();
    const pem = await signCertificate(issuingAuthority(secrets.current, entry), requestPem, {
      cluster: secrets.current.cluster,
      nodeId: node,
      addresses: certificateAddresses(own.endpoints?.host ?? "127.0.0.1", own.addresses),
      now: new Date(clock.now()),
    });
    writeTls(dir, { authorities: bundle, certificate: pem, keyPem });
    log.info({ serial: certificateFacts(pem).serial, issuer: entry.issuer }, "certificate renewed");
  }

  /** Notes in its own entry what it holds; of workers the rotation does so. */
  async #confirm(entry: TrustEntry): Promise<void> {
    const { store, node, clock } = this.#deps;
    if ((store.member(node)?.trust?.generation ?? 0) >= entry.generation) return;
    if (faultOf(entry, "server", await this.#holding(entry)) !== undefined) return;
    await store.confirmTrust(node, entry.generation, timestamp(clock));
  }

  async #holding(entry: TrustEntry | undefined): Promise<TrustHolding> {
    const { dir, secrets, isInForce } = this.#deps;
    const named = new Set(entry?.authorities.map(({ fingerprint }) => fingerprint));
    const { authority, next } = secrets.current;
    const keys = [authority, ...(next ? [next] : [])].map(
      ({ certificatePem }) => authorityOf(certificatePem).fingerprint,
    );
    return {
      ...holdingIn(dir),
      // One that a step has made but not entered is nobody's yet.
      keys: keys.filter((key, at) => at === 0 || named.has(key)),
      inForce: await isInForce(),
    };
  }
}

function isNamed({ authorities }: TrustEntry, { fingerprint }: Authority): boolean {
  return authorities.some((one) => one.fingerprint === fingerprint);
}

/** The authorities of a server's secrets, by fingerprint. */
function keyedIn({ authority, next }: ServerSecrets): Map<string, Keyed> {
  const all = [authority, ...(next ? [next] : [])];
  return new Map(all.map((keyed) => [authorityOf(keyed.certificatePem).fingerprint, keyed]));
}

function isGenuine({ certificatePem, keyPem }: Keyed): boolean {
  return isKeyOf(keyPem, certificatePem);
}
