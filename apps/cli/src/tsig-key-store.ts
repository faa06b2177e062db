// SPDX-License-Identifier: Apache-2.0
/** Hands a key file to the cluster, which keeps the secret sealed; whatever needs the key then names it. */
import { dnsContract } from "@debvisor/proto-events/dns";
import type { ApiReply } from "./client.ts";
import type { Call } from "./command.ts";
import { toHttp } from "./from-contract.ts";
import { readTsigKeyFile } from "./tsig-key-file.ts";

const { setKey } = dnsContract.operations;
const SLACK_MS = 3_000;

/** Stores the key of a file; a repeat changes nothing. @throws DNS_KEY_INVALID, CONFLICT when the name has another secret */
export async function storeKeyFile(
  file: string,
  call: Call,
): Promise<{ readonly name: string; readonly reply: ApiReply }> {
  const { name, algorithm, secret } = readTsigKeyFile(file, call);
  const request = toHttp(setKey, { key: name, algorithm, secret });
  return { name, reply: await call.client().request({ ...request, timeoutMs: setKey.timeoutMs + SLACK_MS }) };
}
