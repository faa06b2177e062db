// SPDX-License-Identifier: Apache-2.0
/** Users and what sudo grants them. */
import { expect, test } from "vitest";
import { parseSudoList, privilegedNeeds, sudoCheck, userCheck } from "./rights-checks.ts";

test("warns an ordinary user only about tools that change the host", () => {
  expect(userCheck(0, new Set(["ceph"]))).toMatchObject({ status: "passed" });
  expect(userCheck(1000, new Set(["jq"]))).toMatchObject({ status: "passed" });
  expect(userCheck(1000, new Set(["ceph"]))).toMatchObject({ status: "warned" });
  expect(privilegedNeeds(new Set(["jq", "rauc"]))).toEqual(["rauc"]);
});

test.each([
  ["root", { uid: 0, needs: ["ceph"], rights: undefined }, "passed", "no sudo"],
  ["a user that needs nothing", { uid: 7, needs: [], rights: undefined }, "skipped", "Not asked"],
  ["a user with rights", { uid: 7, needs: [], rights: granted("(ALL) ALL") }, "passed", "(ALL) ALL"],
  ["a missing sudo", { uid: 7, needs: [], rights: { outcome: "missing" as const } }, "skipped", "not installed"],
  ["a needed and missing sudo", { uid: 7, needs: ["zfs"], rights: { outcome: "missing" as const } }, "warned", "zfs"],
  ["a refusal", { uid: 7, needs: ["zfs"], rights: { outcome: "refused" as const, reason: "no" } }, "warned", "no"],
])("judges %s", (_title, facts, status, words) => {
  const check = sudoCheck(facts);

  expect(check).toMatchObject({ id: "permissions.sudo", status });
  expect(check.message).toContain(words);
});

test("reads the commands of sudo's list, and nothing else", () => {
  const output = `Matching Defaults entries for debvisor on host:
    env_reset, secure_path=/usr/sbin\\:/usr/bin

User debvisor may run the following commands on host:
    (ALL : ALL) ALL
    (root) NOPASSWD: /usr/sbin/rauc
`;

  expect(parseSudoList(output)).toEqual(["(ALL : ALL) ALL", "(root) NOPASSWD: /usr/sbin/rauc"]);
  expect(parseSudoList("Sorry, user x may not run sudo on host.")).toEqual([]);
});

function granted(command: string) {
  return { outcome: "granted" as const, commands: [command] };
}
