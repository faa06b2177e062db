// SPDX-License-Identifier: Apache-2.0
/** Starts the node agent as a process of its own. */
import { runService } from "@debvisor/shared/service-runner";
import { nodeAgentService } from "./service.ts";

await runService(nodeAgentService);
