// SPDX-License-Identifier: Apache-2.0
/** Runs the gateway as a process of its own. */
import { runService } from "@debvisor/shared/service-runner";
import { gatewayService } from "./service.ts";

await runService(gatewayService);
