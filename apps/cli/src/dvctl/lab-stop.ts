// SPDX-License-Identifier: Apache-2.0
/** `dvctl lab stop NODE`. */
import { labNodeCommand } from "../lab-control.ts";

export const labStop = labNodeCommand("stop", {
  summary: "Stop a node of the local cluster in an orderly way.",
  changes: "Ends the node's processes after they have drained; its folder stays.",
  undo: "dvctl lab start NODE",
  does: "Take node-2 away politely.",
});
