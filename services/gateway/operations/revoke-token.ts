// SPDX-License-Identifier: Apache-2.0
/** Revokes an API key on every gateway. Revoking it again changes nothing and says so by the same answer. */
import type { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { publicToken } from "../auth/token-record.ts";
import type { TokenStore } from "../auth/tokens.ts";
import type { Outbox } from "../outbox.ts";
import type { OwnCall } from "./handlers.ts";

type Contract = typeof gatewayContract;

export function revokeTokenHandler({ tokens, outbox }: { readonly tokens: TokenStore; readonly outbox: Outbox }) {
  return async (
    { token: id }: Input<Contract, "revokeToken">,
    { principal, requestId }: OwnCall,
  ): Promise<Output<Contract, "revokeToken">> => {
    const { record, changed } = await tokens.revoke(id);
    const token = publicToken(record);
    if (changed) outbox.publish("token.revoked", token, { subject: id, actor: principal.id, requestId });
    return token;
  };
}
