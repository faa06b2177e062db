#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/* Starts debvisor-dns-update with Node 26, whatever Node runs this file. */
"use strict";
require("../../../tools/node26.cjs").reexec(require.resolve("../src/debvisor-dns-update.ts"), process.argv.slice(2));
