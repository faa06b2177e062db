// SPDX-License-Identifier: Apache-2.0
/** Number of the tree that every checkpoint belongs to. */
export const GENERATION = 1;
