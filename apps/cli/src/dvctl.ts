// SPDX-License-Identifier: Apache-2.0
/** Entry point of `dvctl`. */
import { dvctlProgram } from "./dvctl-program.ts";
import { main } from "./program.ts";

if (import.meta.main) await main(dvctlProgram());
