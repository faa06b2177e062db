// SPDX-License-Identifier: Apache-2.0
/** `dvctl lab start NODE`. */
import { labNodeCommand } from "../lab-control.ts";

export const labStart = labNodeCommand("start", {
  summary: "Start a stopped node of the local cluster.",
  changes: "Starts the node's processes again from its folder.",
  undo: "dvctl lab stop NODE",
  does: "Bring node-2 back.",
});
