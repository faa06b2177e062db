// SPDX-License-Identifier: Apache-2.0
/** Lists the API keys, without hashes. */
import { type gatewayContract, Token } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import { publicToken } from "../auth/token-record.ts";
import type { TokenStore } from "../auth/tokens.ts";

type Contract = typeof gatewayContract;

const fields = fieldsOf(Token);

export function listTokensHandler({ tokens }: { readonly tokens: TokenStore }) {
  return (input: Input<Contract, "listTokens">): Output<Contract, "listTokens"> =>
    paginate(tokens.list().map(publicToken), input, {
      fields,
      aliases: { scope: "scopes" },
      id: (token) => token.id,
      sort: "createdAt",
    });
}
