// SPDX-License-Identifier: Apache-2.0
/** The gateway as a service: its routes are in `routes.ts`, its own operations in `operations/handlers.ts`. */
import { DvError } from "@debvisor/shared/errors";
import { defineService } from "@debvisor/shared/service";
import { type GatewayConfig, gatewayConfig } from "./config.ts";
import { startGateway } from "./gateway.ts";

export const gatewayService = defineService({
  name: "gateway",
  config: gatewayConfig,
  serversOnly: true,
  start: async (context) => {
    if (!context.coreBus) throw new DvError("CONFIG_INVALID", "The gateway runs on server nodes only.");
    try {
      return await startGateway(context, context.coreBus);
    } catch (error) {
      throw explainListen(error, context.config);
    }
  },
});

function explainListen(error: unknown, { host, port }: GatewayConfig): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EADDRINUSE":
      return new DvError("PORT_BUSY", `Something else listens on ${host}:${port}.`, { cause: error });
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return new DvError("CONFIG_INVALID", `host: ${host} is no address of this machine.`, { cause: error });
    case "EACCES":
      return new DvError("CONFIG_INVALID", `port: the gateway may not listen on port ${port}.`, { cause: error });
    default:
      return error;
  }
}
