// SPDX-License-Identifier: Apache-2.0
/**
 * The cluster's secrets as this server has them. Written by this process alone while it runs; every part of it asks here, because a
 * rotation changes them under way.
 */
import { json, nodePaths, readJsonFileIfPresent, ServerSecrets, writePrivateFile } from "@debvisor/shared/node-files";

export class SecretsFile {
  readonly #file: string;
  #current: ServerSecrets;

  private constructor(file: string, current: ServerSecrets) {
    this.#file = file;
    this.#current = current;
  }

  /** Undefined on a machine that has none. @throws DATA_FOLDER_CORRUPT */
  static open(dir: string): SecretsFile | undefined {
    const file = nodePaths(dir).secrets;
    const current = readJsonFileIfPresent(file, ServerSecrets);
    return current && new SecretsFile(file, current);
  }

  get current(): ServerSecrets {
    return this.#current;
  }

  /** Writes them whole or not at all, synchronised before it returns; nothing when they are the same. */
  write(secrets: ServerSecrets): void {
    if (JSON.stringify(secrets) === JSON.stringify(this.#current)) return;
    writePrivateFile(this.#file, json(secrets));
    this.#current = secrets;
  }
}
