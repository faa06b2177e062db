// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a TypeScript entry point with Node 26 or later, whatever Node started us. Every `bin` and the start script use it:
 * `require("../../../tools/node26.cjs").reexec(script, process.argv.slice(2))`.
 *
 * Plain CommonJS without modern syntax, because Node 20 has to parse it. On Node 26 the script runs in this process. On
 * Node 22.15 and later the process is replaced (execve), which leaves no parent behind; Node 20 has no execve, there a
 * small parent stays, forwards signals and passes the exit code on.
 */
"use strict";
const fs = require("node:fs");
const module_ = require("node:module");
const os = require("node:os");
const path = require("node:path");
const tty = require("node:tty");

const REQUIRED_MAJOR = 26;
const root = path.resolve(__dirname, "..");
const linkedNode = path.join(root, "node_modules", ".bin", "debvisor-node");

/**
 * Runs `script` (absolute, or relative to the repository root) with `args` as if it had been named on Node's command
 * line: `process.argv` and `import.meta.main` are those of an entry point. Returns at once; the process ends with the script.
 */
function reexec(script, args) {
  const file = path.resolve(root, script);
  if (!fs.existsSync(file)) fail(`no such script: ${file}`);
  process.env.NODE_COMPILE_CACHE ||= path.join(root, "node_modules", ".cache", "compile");
  if (Number.parseInt(process.versions.node, 10) >= REQUIRED_MAJOR) {
    runHere(file, args);
    return;
  }
  if (!isExecutable(linkedNode)) {
    fail(
      `Node ${REQUIRED_MAJOR} or later is needed, this is ${process.versions.node} and ${linkedNode} is missing: run npm install in ${root}`,
    );
  }
  if (typeof process.execve === "function") {
    process.execve(linkedNode, [linkedNode, file, ...args], process.env);
    return;
  }
  runChild(file, args);
}

function runHere(file, args) {
  module_.enableCompileCache(process.env.NODE_COMPILE_CACHE);
  process.argv = [process.execPath, file, ...args];
  module_.runMain(file);
}

function runChild(file, args) {
  const { spawn } = require("node:child_process");
  const child = spawn(linkedNode, [file, ...args], { stdio: "inherit" });
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  for (const signal of ["SIGINT", "SIGHUP"]) {
    process.on(signal, () => {
      if (!terminalSignalsReachChild()) child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`cannot start ${linkedNode}: ${error.message}`));
  child.on("exit", (code, signal) => {
    process.exit(signal === null ? code : 128 + os.constants.signals[signal]);
  });
}

/*
 * Ctrl-C goes to the whole foreground process group, hence to the child as well. Passing it on would be a second one,
 * which our services take as "stop now, without draining". True when this process has a terminal and is in its foreground.
 */
function terminalSignalsReachChild() {
  if (![0, 1, 2].some((descriptor) => tty.isatty(descriptor))) return false;
  try {
    const stat = fs.readFileSync("/proc/self/stat", "utf8");
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return group === foreground;
  } catch {
    return true;
  }
}

function isExecutable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function fail(message) {
  process.stderr.write(`[ERROR] ${message}\n`);
  process.exit(1);
}

module.exports = { REQUIRED_MAJOR, reexec };
