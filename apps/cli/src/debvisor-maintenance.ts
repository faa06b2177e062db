// SPDX-License-Identifier: Apache-2.0
/** Entry point of `debvisor-maintenance`. */
import { maintenanceProgram } from "./maintenance-program.ts";
import { main } from "./program.ts";

if (import.meta.main) await main(maintenanceProgram());
