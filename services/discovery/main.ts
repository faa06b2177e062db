// SPDX-License-Identifier: Apache-2.0
/** Starts the discovery service. */
import { runService } from "@debvisor/shared/service-runner";
import { discoveryService } from "./service.ts";

await runService(discoveryService);
