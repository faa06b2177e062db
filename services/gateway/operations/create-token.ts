// SPDX-License-Identifier: Apache-2.0
/** Makes an API key. The key itself is in the answer and nowhere else. */
import type { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { newKey, publicToken, type TokenRecord } from "../auth/token-record.ts";
import type { TokenStore } from "../auth/tokens.ts";
import { mayGrant } from "../model/permissions.ts";
import type { Outbox } from "../outbox.ts";
import type { OwnCall } from "./handlers.ts";

export interface CreateTokenDeps {
  readonly tokens: TokenStore;
  readonly outbox: Outbox;
  readonly clock: Clock;
}

type Contract = typeof gatewayContract;

const DAY_MS = 86_400_000;

export function createTokenHandler({ tokens, outbox, clock }: CreateTokenDeps) {
  return async (
    input: Input<Contract, "createToken">,
    { principal, requestId }: OwnCall,
  ): Promise<Output<Contract, "createToken">> => {
    if (!mayGrant(principal, input)) {
      throw new DvError("TOKEN_SCOPE_TOO_WIDE", "The key would be allowed more than yours.", {
        details: { role: principal.role, scopes: principal.scopes },
      });
    }
    const { id, key, hash } = newKey();
    const now = clock.now();
    const record: TokenRecord = {
      id,
      name: input.name,
      role: input.role,
      scopes: input.scopes,
      createdAt: new Date(now).toISOString(),
      createdBy: principal.id,
      expiresAt: new Date(now + input.expiresInDays * DAY_MS).toISOString(),
      lastUsedAt: null,
      revokedAt: null,
      hash,
    };
    await tokens.add(record);
    const token = publicToken(record);
    outbox.publish("token.created", token, { subject: id, actor: principal.id, requestId });
    return { token, secret: key };
  };
}
