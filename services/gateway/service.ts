// SPDX-License-Identifier: Apache-2.0
/** The gateway as a service: its routes are in `routes.ts`, its own operations in `operations/handlers.ts`. */
import { DvError } from "@debvisor/shared/errors";
import { defineService } from "@debvisor/shared/service";
import { gatewayConfig } from "./config.ts";
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
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      throw new DvError("PORT_BUSY", `Something else listens on ${context.config.host}:${context.config.port}.`, {
        cause: error,
      });
    }
  },
});
