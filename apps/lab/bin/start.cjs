#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// `npm start`: runs the launcher of the local cluster with the project's own Node.
"use strict";
require("../../../tools/node26.cjs").reexec("apps/lab/src/main.ts", process.argv.slice(2));
