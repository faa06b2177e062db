// SPDX-License-Identifier: Apache-2.0
/** What the client repeats, against a real HTTP server. */
import { describe, expect, it } from "vitest";
import { startCannedApi } from "../../../test/support/canned-api.ts";
import { createClient } from "./client.ts";

function clientOf(url: string) {
  return createClient({
    context: { servers: [url], token: undefined },
    output: { debug: () => undefined },
    signal: new AbortController().signal,
  });
}

describe("a change that got no answer in time", () => {
  const request = { method: "POST", path: "/x", body: {}, timeoutMs: 150 };

  it("is repeated under the same key where that finds what the first one began", async () => {
    await using api = await startCannedApi((_, number) => (number === 1 ? "hang" : { body: { ok: true } }));

    const reply = await clientOf(api.url).request({ ...request, repeats: true });

    expect(reply.body).toEqual({ ok: true });
    expect(new Set(api.requests.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
  });

  it("is not repeated otherwise, because its effect is unknown", async () => {
    await using api = await startCannedApi(() => "hang");

    await expect(clientOf(api.url).request(request)).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(api.requests).toHaveLength(1);
  });
});
