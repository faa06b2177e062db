// SPDX-License-Identifier: Apache-2.0
/** The difference between two contents of a file as a unified diff (package diff 9.0). */
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";

/** Larger contents are not compared line by line. */
export const MAX_DIFF_INPUT = 64 * 1024;
/** A longer diff is cut; the rest is counted. */
export const MAX_DIFF_OUTPUT = 16 * 1024;
/** More changed lines than this are shown as a whole replacement; the search for the shortest diff would take seconds. */
const MAX_EDITS = 2_000;

/** Diff of two contents; undefined stands for no file. Null when they are equal, too large, or no text. */
export function fileDiff(path: string, before: Uint8Array | undefined, after: Uint8Array | undefined): string | null {
  const [from, to] = [textOf(before), textOf(after)];
  if (from === undefined || to === undefined || from === to) return null;
  const names = [before ? `a${path}` : "/dev/null", after ? `b${path}` : "/dev/null"] as const;
  const options = { context: 3, maxEditLength: MAX_EDITS, headerOptions: FILE_HEADERS_ONLY };
  const diff = createTwoFilesPatch(...names, from, to, undefined, undefined, options);
  return cut(diff ?? replacement(names, from, to));
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return "";
  if (bytes.length > MAX_DIFF_INPUT || bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Not UTF-8, so not a text that could be shown.
    return undefined;
  }
}

function replacement(names: readonly [string, string], from: string, to: string): string {
  const side = (text: string, sign: string) => {
    const lines = text.replace(/\n$/, "").split("\n");
    const end = text.endsWith("\n") ? "" : "\\ No newline at end of file\n";
    return { count: lines.length, text: `${lines.map((line) => `${sign}${line}\n`).join("")}${end}` };
  };
  const [old, fresh] = [side(from, "-"), side(to, "+")];
  return `--- ${names[0]}\n+++ ${names[1]}\n@@ -1,${old.count} +1,${fresh.count} @@\n${old.text}${fresh.text}`;
}

function cut(diff: string): string {
  const bytes = Buffer.from(diff);
  if (bytes.length <= MAX_DIFF_OUTPUT) return diff;
  const room = MAX_DIFF_OUTPUT - 80;
  const end = bytes.lastIndexOf(10, room) + 1;
  // A line that is longer than all the room is cut inside; the decoder leaves out half a character.
  const kept = new TextDecoder().decode(bytes.subarray(0, end > 0 ? end : room), { stream: true });
  return `${kept}${end > 0 ? "" : "\n"}\\ ${bytes.length - Buffer.byteLength(kept)} bytes of the diff are left out\n`;
}
