// SPDX-License-Identifier: Apache-2.0
/**
 * The test projects (STYLE D1). `unit` holds the contract tests too; `soak` (the long repetitions) exists only when
 * DV_SOAK=1, so that a plain run cannot start it. Projects run one after the other: `unit` and `repo` first, in
 * parallel on all cores, then those that start real components. These wait for most of their time, so there are more of them than
 * cores, but few: measured on two cores, 2 and 1 at a time left 60 % idle and took 21 min, 3 and 2 at a time 15 min, with more tests.
 */
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

interface ProjectShape {
  readonly name: string;
  readonly include: readonly string[];
  readonly order: number;
  readonly workers?: number;
  readonly timeoutMs: number;
}

const shapes: readonly ProjectShape[] = [
  {
    name: "unit",
    include: ["proto-events", "shared", "services", "apps", "tools"].map((folder) => `${folder}/**/*.test.ts`),
    order: 0,
    timeoutMs: 10 * SECOND,
  },
  { name: "repo", include: ["test/repo/**/*.test.ts"], order: 0, timeoutMs: 30 * SECOND },
  {
    name: "integration",
    include: ["test/integration/**/*.test.ts", "test/support/**/*.test.ts", "test/sim/**/*.test.ts"],
    order: 1,
    workers: 3,
    timeoutMs: MINUTE,
  },
  { name: "e2e", include: ["test/e2e/**/*.test.ts"], order: 2, workers: 2, timeoutMs: 3 * MINUTE },
  { name: "soak", include: ["test/soak/**/*.test.ts"], order: 3, workers: 1, timeoutMs: 60 * MINUTE },
];

/** The files that take longest, longest first: one that began last would run alone at the end. */
const LONGEST = [
  "operation/torture",
  "e2e/nodes-come-and-go",
  "e2e/orders",
  "operation/torture-kills",
  "formation/rescue",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const index = LONGEST.findIndex((name) => moduleId.endsWith(`${name}.test.ts`));
      return index < 0 ? LONGEST.length : index;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

function project(shape: ProjectShape): TestProjectInlineConfiguration {
  return {
    test: {
      name: shape.name,
      include: [...shape.include],
      exclude: ["**/node_modules/**", "**/.debvisor/**", "**/.cache/**"],
      environment: "node",
      globals: false,
      pool: "forks",
      testTimeout: shape.timeoutMs,
      hookTimeout: shape.timeoutMs,
      // The default of 1 s says nothing on a busy machine; who waits for something in vain has it that late instead.
      expect: { poll: { timeout: 8 * SECOND } },
      sequence: { groupOrder: shape.order },
      ...(shape.workers === undefined ? {} : { maxWorkers: shape.workers }),
    },
  };
}

const soak = process.env["DV_SOAK"] === "1";

export default defineConfig({
  test: {
    projects: shapes.filter((shape) => soak || shape.name !== "soak").map(project),
    sequence: { sequencer: LongestFirst },
    teardownTimeout: 20 * SECOND,
    slowTestThreshold: SECOND,
  },
});
