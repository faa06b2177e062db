// SPDX-License-Identifier: Apache-2.0
/** Entry point of `debvisor-health-check`. */
import { healthCheckProgram } from "./health-check-program.ts";
import { main } from "./program.ts";

if (import.meta.main) await main(healthCheckProgram());
