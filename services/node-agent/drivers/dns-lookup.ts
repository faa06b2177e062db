// SPDX-License-Identifier: Apache-2.0
/**
 * Asks the host's DNS servers for addresses. By c-ares and not by getaddrinfo(3), which holds one of Node's worker
 * threads for up to half a minute when a server is away, and cannot be stopped.
 */
import { Resolver } from "node:dns/promises";

/** What was found; `reason` is undefined when at least one kind of address answered. */
export interface DnsAnswer {
  readonly addresses: readonly string[];
  readonly reason: string | undefined;
}

/** Resolves a name to IPv4 and IPv6 addresses within `timeoutMs`. Never throws. */
export async function resolveName(
  name: string,
  timeoutMs: number,
  options: { readonly servers?: readonly string[]; readonly signal?: AbortSignal | undefined } = {},
): Promise<DnsAnswer> {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
  if (options.servers !== undefined) resolver.setServers(options.servers);
  const limit = AbortSignal.any([
    AbortSignal.timeout(timeoutMs),
    ...(options.signal === undefined ? [] : [options.signal]),
  ]);
  const cancel = () => resolver.cancel();
  limit.addEventListener("abort", cancel, { once: true });
  try {
    const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const addresses = [four, six].flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    if (addresses.length > 0) return { addresses, reason: undefined };
    return { addresses, reason: four.status === "rejected" ? codeOf(four.reason) : "no address" };
  } finally {
    limit.removeEventListener("abort", cancel);
  }
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code ?? String(error);
}
