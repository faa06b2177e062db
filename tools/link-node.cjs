// SPDX-License-Identifier: Apache-2.0
// Runs after `npm install`: puts the project's Node (an npm platform package, locked by hash, without an install script)
// at node_modules/.bin/debvisor-node. Plain CommonJS, because the Node that runs npm may be too old to parse TypeScript.
// npm 9 drops the `node` link when both architectures are listed as optional dependencies, hence our own link.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const root = path.resolve(__dirname, "..");
const binary = path.join(root, "node_modules", `node-linux-${process.arch}`, "bin", "node");
const link = path.join(root, "node_modules", ".bin", "debvisor-node");

if (!fs.existsSync(binary)) {
  console.error(
    `[WARN] no Node for ${process.platform}-${process.arch} among the optional dependencies; commands need Node 26 on PATH`,
  );
} else {
  fs.mkdirSync(path.dirname(link), { recursive: true });
  fs.rmSync(link, { force: true });
  fs.symlinkSync(path.relative(path.dirname(link), binary), link);
  warm();
}

/** A cold cache costs time and memory at the first start, nothing more: a failure here is not worth a word. */
function warm() {
  const { spawnSync } = require("node:child_process");
  const env = { ...process.env, NODE_COMPILE_CACHE: path.join(root, "node_modules", ".cache", "compile") };
  const options = { cwd: root, env, stdio: "ignore", timeout: 60_000 };
  spawnSync(binary, [path.join(root, "tools", "warm-compile-cache.ts")], options);
  spawnSync(binary, [path.join(root, "apps", "cli", "src", "dvctl.ts"), "--version"], options);
}
