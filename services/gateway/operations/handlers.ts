// SPDX-License-Identifier: Apache-2.0
/** The table of the gateway's own operations. They run in the gateway's process, through the same routes as all others. */
import type { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { Principal } from "../auth/principal.ts";
import { type CreateTokenDeps, createTokenHandler } from "./create-token.ts";
import { getCapabilitiesHandler } from "./get-capabilities.ts";
import { getStatusHandler, type StatusDeps } from "./get-status.ts";
import { listErrorsHandler } from "./list-errors.ts";
import { listServicesHandler } from "./list-services.ts";
import { listTokensHandler } from "./list-tokens.ts";
import { revokeTokenHandler } from "./revoke-token.ts";

/** What a handler knows of the call. */
export interface OwnCall {
  readonly principal: Principal;
  readonly requestId: string;
  readonly source: string;
}

type Contract = typeof gatewayContract;

/** One handler per operation; a missing or wrongly typed one does not compile. */
export type OwnHandlers = {
  readonly [K in keyof Contract["operations"]]: (
    input: Input<Contract, K>,
    call: OwnCall,
  ) => Promise<Output<Contract, K>> | Output<Contract, K>;
};

/** Makes the handlers. */
export function ownHandlers(deps: StatusDeps & CreateTokenDeps): OwnHandlers {
  return {
    getStatus: getStatusHandler(deps),
    listServices: listServicesHandler(deps),
    listErrors: listErrorsHandler,
    getCapabilities: getCapabilitiesHandler(deps),
    createToken: createTokenHandler(deps),
    listTokens: listTokensHandler(deps),
    revokeToken: revokeTokenHandler(deps),
  };
}
