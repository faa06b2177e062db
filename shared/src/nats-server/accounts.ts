// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps a server from falling behind with the JWTs of accounts, and with them the revocations. Measured with nats-server 2.15.1: at
 * its start it takes whichever JWT was issued later, that of its configuration or that on its disk; what it missed while it was
 * down it hears only after the resolver's interval, from one server at a time. Until then it would let a revoked user in.
 */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { claimsOf, establishedAccount, isSignedAccount, safestAccount } from "../bus/accounts.ts";
import { connectSystem } from "../bus/system.ts";
import type { BusTls } from "../bus/tls.ts";
import type { Credential, ServerTrust } from "../bus/trust.ts";

/** The same with whichever JWT of each account forgets no revocation: the one given, on the disk, or in `heard`. */
export function safeTrust(trust: ServerTrust, resolverDir: string, heard: readonly string[] = []): ServerTrust {
  const operator = claimsOf(trust.operatorJwt).sub;
  const signed = heard.filter((jwt) => isSignedAccount(jwt, operator));
  const accounts = Object.entries(trust.accounts).map(([account, jwt]) => {
    const held = [...onDisk(resolverDir, account, operator), ...signed].filter(
      (other) => claimsOf(other).sub === account,
    );
    return [account, establishedAccount(safestAccount([jwt, ...held]), held)] as const;
  });
  return { ...trust, accounts: Object.fromEntries(accounts) };
}

/**
 * Makes a server that is about to start take the JWTs of its configuration: what its disk holds instead goes, because it would
 * win when it was issued later, whether it knows of every revocation or not, and even when the operator has not signed it.
 */
export function clearOtherAccounts({ accounts }: ServerTrust, resolverDir: string): void {
  for (const [account, jwt] of Object.entries(accounts)) {
    const file = accountFile(resolverDir, account);
    if (existsSync(file) && readFileSync(file, "utf8").trim() !== jwt) rmSync(file);
  }
}

/** How to reach servers under the system credential. */
export interface SystemAccess {
  /** `host:port` for clients. */
  readonly servers: readonly string[];
  readonly credential: Credential;
  readonly tls?: BusTls;
}

/** Every JWT of the accounts that servers within reach go by; none when no server answers within `patienceMs`. */
export async function hearAccounts(
  access: SystemAccess,
  { accounts }: ServerTrust,
  patienceMs: number,
): Promise<readonly string[]> {
  const { servers, credential, tls } = access;
  if (servers.length === 0) return [];
  try {
    const system = await connectSystem(servers, credential, patienceMs, tls);
    try {
      return await system.accounts(Object.keys(accounts), ANSWER_MS);
    } finally {
      await system.close();
    }
  } catch {
    return [];
  }
}

/** Gives every server the safest JWT of each account about which they disagree. Returns the accounts. @throws NATS_SERVER_FAILED */
export async function evenOutAccounts(
  access: SystemAccess,
  { operatorJwt, accounts }: ServerTrust,
  patienceMs: number,
): Promise<string[]> {
  const operator = claimsOf(operatorJwt).sub;
  const system = await connectSystem(access.servers, access.credential, patienceMs, access.tls);
  try {
    const held = (await system.accounts(Object.keys(accounts), ANSWER_MS)).filter((jwt) =>
      isSignedAccount(jwt, operator),
    );
    const byAccount = Map.groupBy(held, (jwt) => claimsOf(jwt).sub);
    const disputed = [...byAccount].filter(([, jwts]) => jwts.length > 1);
    const push = ([, [first = "", ...others]]: readonly [string, string[]]) =>
      system.pushAccount(safestAccount([first, ...others]), PUSH_MS);
    await Promise.all(disputed.map(push));
    return disputed.map(([account]) => account);
  } finally {
    await system.close();
  }
}

/** How long a server may take after another one; the ends of their answers cannot be told apart. */
const ANSWER_MS = 300;
const PUSH_MS = 500;

/** What the resolver has written. It writes what it is given, so the operator's signature is checked here. */
function onDisk(resolverDir: string, account: string, operator: string): string[] {
  try {
    const jwt = readFileSync(accountFile(resolverDir, account), "utf8").trim();
    return isSignedAccount(jwt, operator) ? [jwt] : [];
  } catch {
    return [];
  }
}

function accountFile(resolverDir: string, account: string): string {
  return join(resolverDir, `${account}.jwt`);
}
