// SPDX-License-Identifier: Apache-2.0
/** Starts the dns service. */
import { runService } from "@debvisor/shared/service-runner";
import { dnsService } from "./service.ts";

await runService(dnsService);
