// SPDX-License-Identifier: Apache-2.0
/**
 * Which nodes a fan-out goes to. `all` has to be said; a list in which one name is unknown selects nothing, because a typo
 * must not turn "these five" into "these four" without a word.
 */

/** What of a node a selection can ask for. */
export interface SelectableNode {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly roles: readonly string[];
  readonly version: string;
  readonly rack: string | null;
  readonly zone: string | null;
}

/** One condition of a filter; all of a selection's conditions must hold. */
export interface Condition {
  readonly field: SelectableField;
  readonly operator: "=" | "!=" | "~";
  readonly value: string;
}

/** A selection as it was written. */
export type Selection =
  | { readonly kind: "all" }
  | { readonly kind: "refs"; readonly refs: readonly string[] }
  | { readonly kind: "filter"; readonly conditions: readonly Condition[] };

/** A selection that cannot be read. */
export interface SelectionFault {
  readonly kind: "fault";
  readonly message: string;
}

const FIELDS = ["id", "name", "state", "role", "roles", "version", "rack", "zone"] as const;
type SelectableField = (typeof FIELDS)[number];

const REF = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Reads a selection; a fault says what is wrong with it, for the caller to see. */
export function parseSelection(text: string): Selection | SelectionFault {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  if (parts.length === 0) return fault("the selection is empty; say all when all nodes are meant");
  if (parts.includes("all")) return parts.length === 1 ? { kind: "all" } : fault("all stands alone");
  if (!parts.some((part) => /[=~]/.test(part))) return parseRefs(parts);
  const conditions = parts.map(parseCondition);
  const wrong = conditions.find((condition) => typeof condition === "string");
  if (wrong !== undefined) return fault(wrong);
  return { kind: "filter", conditions: conditions.filter((condition) => typeof condition !== "string") };
}

function parseRefs(parts: readonly string[]): Selection | SelectionFault {
  const wrong = parts.find((part) => !REF.test(part));
  if (wrong !== undefined) return fault(`${JSON.stringify(wrong)} is neither a node id nor a name`);
  return { kind: "refs", refs: [...new Set(parts)] };
}

function parseCondition(part: string): Condition | string {
  const [, field, operator, value] = /^([a-z]+)(!=|=|~)(.*)$/.exec(part) ?? [];
  if (field === undefined || value === undefined)
    return `${JSON.stringify(part)} is no condition; conditions and names cannot be mixed`;
  if (!isField(field)) return `nodes cannot be selected by ${JSON.stringify(field)}; known: ${FIELDS.join(", ")}`;
  return { field, operator: operator as Condition["operator"], value };
}

function isField(text: string): text is SelectableField {
  return (FIELDS as readonly string[]).includes(text);
}

function fault(message: string): SelectionFault {
  return { kind: "fault", message };
}

/** The selected nodes in the order given, and the names that no node has. */
export interface Selected<N extends SelectableNode> {
  readonly nodes: readonly N[];
  readonly unknown: readonly string[];
}

/** Applies a selection. A ref that is one node's id and another's name means the id. */
export function selectNodes<N extends SelectableNode>(selection: Selection, nodes: readonly N[]): Selected<N> {
  switch (selection.kind) {
    case "all":
      return { nodes, unknown: [] };
    case "filter":
      return {
        nodes: nodes.filter((node) => selection.conditions.every((condition) => holds(condition, node))),
        unknown: [],
      };
    case "refs":
      return selectRefs(selection.refs, nodes);
  }
}

function selectRefs<N extends SelectableNode>(refs: readonly string[], nodes: readonly N[]): Selected<N> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const chosen = new Set<N>();
  const unknown: string[] = [];
  for (const ref of refs) {
    const node = byId.get(ref) ?? byName.get(ref);
    if (node) chosen.add(node);
    else unknown.push(ref);
  }
  return { nodes: nodes.filter((node) => chosen.has(node)), unknown };
}

function holds({ field, operator, value }: Condition, node: SelectableNode): boolean {
  const have = valuesOf(field, node);
  switch (operator) {
    case "=":
      return have.includes(value);
    case "!=":
      return !have.includes(value);
    case "~":
      return have.some((text) => text.includes(value));
  }
}

function valuesOf(field: SelectableField, node: SelectableNode): readonly string[] {
  if (field === "role" || field === "roles") return node.roles;
  const value = node[field];
  return value === null ? [] : [value];
}
