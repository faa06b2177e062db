// SPDX-License-Identifier: Apache-2.0
/** Which Debian archive is read out of apt's source lists. */
import { describe, expect, it } from "vitest";
import { debianArchives, parseDeb822Sources, parseOneLineSources } from "./apt-sources.ts";

const deb822 = `
Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
`;

const oneLine = `
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main contrib # note
deb-src http://source.example/debian trixie main
deb cdrom:[Debian] trixie main
deb http://packages.example/tool stable tool
`;

describe("parseDeb822Sources", () => {
  it("reads suites, continued lines and comments, and leaves out what is disabled or source", () => {
    expect(parseDeb822Sources(deb822)).toEqual([
      { uri: "http://mirror.example/debian", suite: "bookworm", components: ["main", "contrib"] },
      { uri: "http://mirror.example/debian", suite: "bookworm-updates", components: ["main", "contrib"] },
      { uri: "http://mirror.example/debian-security", suite: "bookworm-security", components: ["main"] },
    ]);
  });
});

describe("parseOneLineSources", () => {
  it("reads options, components and trailing comments", () => {
    expect(parseOneLineSources(oneLine)).toContainEqual({
      uri: "http://mirror.example/debian/",
      suite: "trixie",
      components: ["main", "contrib"],
    });
  });

  it("leaves out comments and source lines", () => {
    const uris = parseOneLineSources(oneLine).map((source) => source.uri);

    expect(uris).not.toContain("http://commented.example/debian");
    expect(uris).not.toContain("http://source.example/debian");
  });
});

describe("debianArchives", () => {
  it("keeps Debian's own archives, once each, without a trailing slash", () => {
    const sources = [...parseOneLineSources(oneLine), ...parseDeb822Sources(deb822)];

    expect(debianArchives(sources, "bookworm")).toEqual(["http://mirror.example/debian"]);
  });

  it("prefers an archive that has debian in its address", () => {
    const sources = ["http://cache.example/d", "http://cache.example/debian"].map((uri) => ({
      uri,
      suite: "trixie",
      components: ["main"],
    }));

    expect(debianArchives(sources, undefined)).toEqual(["http://cache.example/debian", "http://cache.example/d"]);
  });
});
