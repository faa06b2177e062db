#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/* Starts debvisor-join with Node 26, whatever Node runs this file. */
"use strict";
require("../../../tools/node26.cjs").reexec(require.resolve("../src/debvisor-join.ts"), process.argv.slice(2));
