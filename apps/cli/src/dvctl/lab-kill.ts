// SPDX-License-Identifier: Apache-2.0
/** `dvctl lab kill NODE`. */
import { labNodeCommand } from "../lab-control.ts";

export const labKill = labNodeCommand("kill", {
  summary: "Kill all processes of a node of the local cluster, as a power cut would.",
  changes: "Ends the node's processes at once (SIGKILL); its folder stays.",
  undo: "dvctl lab start NODE",
  does: "See what the cluster does when node-2 dies.",
});
