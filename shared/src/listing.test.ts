// SPDX-License-Identifier: Apache-2.0
/** Filter, sort and pages of lists. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { DvError } from "./errors.ts";
import { compileFilter, fieldsOf, type ListPage, paginate } from "./listing.ts";

interface Item {
  readonly id: string;
  readonly name?: string | null;
  readonly load?: number | null;
  readonly tags: readonly string[];
  readonly metrics: { readonly busy: boolean; readonly text: string } | null;
}

const options = {
  fields: ["id", "name", "load", "tags", "metrics", "metrics.busy", "metrics.text"],
  aliases: { tag: "tags" },
  id: ({ id }: Item) => id,
};

const item = fc.record({
  id: fc.uuid(),
  name: fc.option(fc.string({ unit: "binary", maxLength: 120 })),
  load: fc.option(fc.double()),
  tags: fc.array(fc.constantFrom("server", "worker", "a,b"), { maxLength: 3 }),
  metrics: fc.option(fc.record({ busy: fc.boolean(), text: fc.string() })),
});
const items = fc.uniqueArray(item, { selector: ({ id }) => id, maxLength: 40 });
const sorts = fc.constantFrom(
  undefined,
  "name",
  "-name",
  "load",
  "-load",
  "metrics.busy",
  "-metrics.text",
  "tags",
  "id",
);

function allPages(
  list: readonly Item[],
  query: { sort?: string | undefined; filter?: string; limit: number },
): ListPage<Item>[] {
  const pages: ListPage<Item>[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = paginate(list, { ...query, cursor }, options);
    pages.push(page);
    cursor = page.nextCursor;
  }
  return pages;
}

test("pages put together are the whole sorted list, whatever the page size", () => {
  fc.assert(
    fc.property(items, sorts, fc.integer({ min: 1, max: 15 }), (list, sort, limit) => {
      const whole = paginate(list, { sort, limit: 1000 }, options);
      const pages = allPages(list, { sort, limit });

      expect(pages.flatMap((page) => page.items)).toEqual(whole.items);
      expect(new Set(whole.items.map(({ id }) => id)).size).toBe(list.length);
      for (const { nextCursor } of pages) expect(nextCursor?.length ?? 0).toBeLessThanOrEqual(500);
    }),
  );
});

test("the order does not depend on the order of the input", () => {
  fc.assert(
    fc.property(items, sorts, (list, sort) => {
      const one = paginate(list, { sort, limit: 1000 }, options).items;
      const other = paginate(list.toReversed(), { sort, limit: 1000 }, options).items;

      expect(other).toEqual(one);
    }),
  );
});

test("goes on at the right place when the last item of a page was removed", () => {
  const list: Item[] = ["a", "b", "c", "d"].map((id) => ({ id, name: id, tags: [], metrics: null }));
  const first = paginate(list, { sort: "-name", limit: 2 }, options);

  const rest = paginate(
    list.filter(({ id }) => id !== "c"),
    { sort: "-name", limit: 2, cursor: first.nextCursor ?? "" },
    options,
  );

  expect(rest.items.map(({ id }) => id)).toEqual(["b", "a"]);
  expect(rest.nextCursor).toBeNull();
});

test("sorts numbers as numbers and puts what is missing last", () => {
  const list: Item[] = [10, 9, null, 100].map((load, at) => ({ id: String(at), load, tags: [], metrics: null }));

  expect(paginate(list, { sort: "load", limit: 9 }, options).items.map(({ load }) => load)).toEqual([9, 10, 100, null]);
});

const sample: Item = {
  id: "1",
  name: "Alpha",
  load: 2.5,
  tags: ["server", "a,b"],
  metrics: { busy: true, text: "x=y" },
};

test.each([
  ["", true],
  ["name=Alpha", true],
  ["name=alpha", false],
  ["name~LPH", true],
  ["name!=Alpha", false],
  ["tags=server", true],
  ["tag=worker", false],
  ["tags!=worker", true],
  ["tags!=server", false],
  ["tags=a\\,b", true],
  ["load=2.50", true],
  ["metrics.busy=true,metrics.text=x=y", true],
  ["metrics.busy=true,name=Beta", false],
  ["metrics=null", false],
  ["metrics!=null", true],
])("filter %j on the sample is %s", (filter, matches) => {
  expect(compileFilter<Item>(filter, options)(sample)).toBe(matches);
});

test.each([
  { filter: "colour=red" },
  { filter: "name" },
  { filter: "=x" },
  { filter: "name=x,," },
  { sort: "colour" },
  { sort: "__proto__" },
  { cursor: "rubbish" },
  { cursor: "" },
])("refuses %j as an invalid argument", (query) => {
  expect(() => paginate([sample], { limit: 5, ...query }, options)).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT" }),
  );
});

test("refuses a cursor of a list with another sort or filter", () => {
  const list = [sample, { ...sample, id: "2" }];
  const cursor = paginate(list, { limit: 1, sort: "name" }, options).nextCursor ?? "";

  expect(() => paginate(list, { limit: 1, sort: "-name", cursor }, options)).toThrow(DvError);
  expect(() => paginate(list, { limit: 1, sort: "name", filter: "name~a", cursor }, options)).toThrow(DvError);
});

test("never throws anything but our error on a random cursor", () => {
  fc.assert(
    fc.property(fc.oneof(fc.base64String(), fc.string({ unit: "binary" })), (cursor) => {
      try {
        paginate([sample], { limit: 1, cursor }, options);
      } catch (error) {
        expect(error).toBeInstanceOf(DvError);
      }
    }),
  );
});

test("derives the fields of a schema, through arrays, nullable objects, defaults and records", () => {
  const schema = z.object({
    id: z.string(),
    roles: z.array(z.string()),
    state: z.enum(["a", "b"]).catch("a"),
    rack: z.string().nullable().default(null),
    metrics: z.object({ load: z.number() }).nullable(),
    disks: z.array(z.object({ name: z.string() })),
    tools: z.record(z.string(), z.string()),
  });

  expect([...fieldsOf(schema)].sort()).toEqual([
    "disks.name",
    "id",
    "metrics",
    "metrics.load",
    "rack",
    "roles",
    "state",
    "tools.*",
  ]);
});
