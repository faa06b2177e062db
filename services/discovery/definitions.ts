// SPDX-License-Identifier: Apache-2.0
/** Every definition that the engine of discovery runs. The torture test runs each of them as well. */
import type { Definition } from "@debvisor/shared/operation/definition";
import { type GrowDeps, growClusterDefinition } from "./operations/grow-cluster.ts";
import { disableNodeDefinition, enableNodeDefinition, type MarkDeps } from "./operations/mark-node.ts";
import type { RemovalDeps } from "./operations/removal-steps.ts";
import { removeNodeDefinition } from "./operations/remove-node.ts";
import { rotateAuthorityDefinition } from "./operations/rotate-trust.ts";
import type { RotationDeps } from "./operations/rotation-steps.ts";

/** What the definitions work with. */
export type DefinitionDeps = MarkDeps & GrowDeps & RemovalDeps & RotationDeps;

/** The definitions, in the order of the contract. */
export function discoveryDefinitions(deps: DefinitionDeps): readonly Definition<never>[] {
  const all = [
    disableNodeDefinition(deps),
    enableNodeDefinition(deps),
    growClusterDefinition(deps),
    removeNodeDefinition(deps),
    rotateAuthorityDefinition(deps),
  ];
  return all as unknown as readonly Definition<never>[];
}
