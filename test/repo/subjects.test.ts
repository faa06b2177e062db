// SPDX-License-Identifier: Apache-2.0
/**
 * Nobody writes a bus subject by hand (D6.2): proto-events/src/subjects.ts builds them all. The tests of that package may,
 * because they check the wire format itself.
 */
import { expect, it } from "vitest";
import { placeOf, sourceFiles, stringValue } from "./source-tree.ts";

const SUBJECT = /^dv\.(?:rpc|evt|tel|audit|op)(?:\.|$)/;
const MAY_SPELL = /^proto-events\/src\/(?:subjects\.ts|.*\.test\.ts)$/;

it("subject literals stand in proto-events/src/subjects.ts alone", () => {
  const files = sourceFiles().filter((file) => !MAY_SPELL.test(file.path));

  const found = files.flatMap((file) =>
    file.nodes
      .filter((node) => SUBJECT.test(stringValue(node) ?? ""))
      .map((node) => `${placeOf(file, node)}: ${JSON.stringify(stringValue(node))}`),
  );

  expect(found).toEqual([]);
});
