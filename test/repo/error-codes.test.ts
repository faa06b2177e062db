// SPDX-License-Identifier: Apache-2.0
/** Every code of the error catalogue that is not general is raised or read somewhere outside it (D6.3). */
import { SPECIFIC_ERROR_CODES } from "@debvisor/proto-events/errors";
import { expect, it } from "vitest";
import { sourceFiles, stringValue } from "./source-tree.ts";

it("no error code is left over", () => {
  const isCatalogue = (path: string): boolean => path === "proto-events/src/errors.ts" || /\.test\.ts$/.test(path);
  const spoken = new Set(
    sourceFiles()
      .filter((file) => !isCatalogue(file.path))
      .flatMap((file) => file.nodes.flatMap((node) => stringValue(node) ?? [])),
  );

  expect(Object.keys(SPECIFIC_ERROR_CODES).filter((code) => !spoken.has(code))).toEqual([]);
});
