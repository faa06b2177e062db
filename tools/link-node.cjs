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
}
