// SPDX-License-Identifier: Apache-2.0
/** Entry point of `debvisor-audit-verify`. */
import { auditVerifyProgram } from "./audit-verify-program.ts";
import { main } from "./program.ts";

if (import.meta.main) await main(auditVerifyProgram());
