// SPDX-License-Identifier: Apache-2.0
/** Starts the audit service. */
import { runService } from "@debvisor/shared/service-runner";
import { auditService } from "./service.ts";

await runService(auditService);
