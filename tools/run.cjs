// SPDX-License-Identifier: Apache-2.0
/*
 * `node tools/run.cjs <script> [arguments]`: runs a script of this repository with the project's Node 26.
 * The package scripts go through it, so that `npm test` works whatever Node npm itself runs on.
 */
"use strict";
const { reexec } = require("./node26.cjs");

const [script, ...args] = process.argv.slice(2);
if (script === undefined) {
  process.stderr.write("[ERROR] usage: node tools/run.cjs <script> [arguments]\n");
  process.exit(1);
}
reexec(script, args);
