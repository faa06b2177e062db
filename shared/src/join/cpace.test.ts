// SPDX-License-Identifier: Apache-2.0
/** CPace against the vectors of draft-irtf-cfrg-cpace-21, appendix B.3, and what a run without the code comes to. */
import { createHash } from "node:crypto";
import { ristretto255_hasher } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type CpaceOptions, generatorString, startCpace } from "./cpace.ts";

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
const hex = (value: Uint8Array | undefined) => value && Buffer.from(value).toString("hex");
const text = (value: string) => new TextEncoder().encode(value);

const shared = {
  code: text("Password"),
  channel: bytes("0b415f696e69746961746f720b425f726573706f6e646572"),
  session: bytes("7e4b4791d6a8ef019b936c79fb7f2c57"),
};
const a: CpaceOptions = {
  ...shared,
  role: "initiator",
  data: text("ADa"),
  scalar: bytes("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"),
};
const b: CpaceOptions = {
  ...shared,
  role: "responder",
  data: text("ADb"),
  scalar: bytes("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d"),
};
const NEUTRAL = new Uint8Array(32);

test("the generator of the published vector (B.3.1)", () => {
  const string = generatorString(shared.code, shared.channel, shared.session);

  expect(string).toHaveLength(170);
  expect(hex(createHash("sha512").update(string).digest())).toBe(
    "da6d3ddc8802fca9058755ffd3ebde08a9c2c74945901a258482a288b6663af06bf645c93cd1c51512307199c80e84908916d983b34af77205f90851a657ee27",
  );
  expect(hex(ristretto255_hasher.deriveToCurve?.(createHash("sha512").update(string).digest()).toBytes())).toBe(
    "222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56",
  );
});

test("shares and key of the published vectors (B.3.2 to B.3.5), the same on both sides", () => {
  const [runA, runB] = [startCpace(a), startCpace(b)];

  expect(hex(runA.message.share)).toBe("d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157");
  expect(hex(runB.message.share)).toBe("3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258");
  const key =
    "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447";
  expect(hex(runA.finish(runB.message))).toBe(key);
  expect(hex(runB.finish(runA.message))).toBe(key);
});

test.each<[string, Uint8Array]>([
  ["no element of the group (B.3.11)", bytes("2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c")],
  ["the neutral element (B.3.11)", NEUTRAL],
  ["an encoding that is too long", new Uint8Array(33)],
  ["nothing", new Uint8Array()],
])("a share that is %s ends the run without a key", (_, share) => {
  const run = startCpace(a);

  expect(run.finish({ share, data: b.data })).toBeUndefined();
  expect(() => run.finish(startCpace(b).message)).toThrow(TypeError);
});

test.each<[string, Partial<CpaceOptions>]>([
  ["another code", { code: text("password") }],
  ["another channel", { channel: text("somebody else") }],
  ["another session", { session: bytes("00") }],
  ["the same role", { role: "initiator" }],
])("with %s on one side the keys differ", (_, change) => {
  const [one, other] = [startCpace(a), startCpace({ ...b, ...change })];

  const [keyOne, keyOther] = [one.finish(other.message), other.finish(one.message)];

  expect(keyOne).toHaveLength(64);
  expect(hex(keyOther)).not.toBe(hex(keyOne));
});

test("data that is changed on the way changes the key of who receives it", () => {
  const [one, other] = [startCpace(a), startCpace(b)];

  expect(hex(one.finish({ ...other.message, data: text("forged") }))).not.toBe(hex(other.finish(one.message)));
});

test("any code, channel, session and data give both sides one key, and no two runs the same", () => {
  const any = fc.uint8Array({ maxLength: 300 });
  const keys = new Set<string | undefined>();
  let runs = 0;
  fc.assert(
    fc.property(any, any, any, any, any, (code, channel, session, dataA, dataB) => {
      const one = startCpace({ role: "initiator", code, channel, session, data: dataA });
      const other = startCpace({ role: "responder", code, channel, session, data: dataB });
      const key = hex(one.finish(other.message));
      expect(hex(other.finish(one.message))).toBe(key);
      keys.add(key);
      runs++;
    }),
    { numRuns: 25 },
  );
  expect(keys.size).toBe(runs);
});

test.each([
  ["zero", NEUTRAL],
  ["the order of the group", bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")],
  ["too short", new Uint8Array([1])],
])("a scalar that is %s is refused", (_, scalar) => {
  expect(() => startCpace({ ...a, scalar })).toThrow(RangeError);
});
