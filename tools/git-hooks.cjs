// SPDX-License-Identifier: Apache-2.0
// npm's `prepare` step: points git at .githooks when this is a git checkout. Does nothing elsewhere.
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const root = path.resolve(__dirname, "..");
if (fs.existsSync(path.join(root, ".git"))) {
  spawnSync("git", ["config", "core.hooksPath", ".githooks"], { cwd: root, stdio: "ignore" });
}
