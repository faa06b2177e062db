// SPDX-License-Identifier: Apache-2.0
/** Entry point of `debvisor-join`. */
import { joinProgram } from "./join-program.ts";
import { main } from "./program.ts";

if (import.meta.main) await main(joinProgram());
