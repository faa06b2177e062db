// SPDX-License-Identifier: Apache-2.0
/** Entry point of `debvisor-dns-update`. */
import { dnsUpdateProgram } from "./dns-update-program.ts";
import { main } from "./program.ts";

if (import.meta.main) await main(dnsUpdateProgram());
