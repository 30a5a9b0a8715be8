import { assert, describe, it } from "@effect/vitest"
import { accessTo, findRoute, type Origins, parseRoute, type Route } from "../../../src/domain/Route.ts"

const route = (text: string): Route => {
  const parsed = parseRoute(text)
  if (typeof parsed === "string") throw new Error(parsed)
  return parsed
}

const origins = (routes: ReadonlyArray<string>, options: Partial<Origins> = {}): Origins => ({
  routes: routes.map(route),
  urlHosts: [],
  allowPrivate: false,
  ...options
})

describe("parseRoute", () => {
  it.each([
    ["http://media.example.org", { _tag: "All" }, "http://media.example.org/"],
    ["HTTPS://Media.Example.org:8443/a/", { _tag: "All" }, "https://media.example.org:8443/a/"],
    ["http://media.example.org/a=b", { _tag: "All" }, "http://media.example.org/a=b"],
    ["http://media.example.org/x=http://y", { _tag: "All" }, "http://media.example.org/x=http://y"],
    ["/=http://a.example", { _tag: "All" }, "http://a.example/"],
    ["/video=http://a.example/v", { _tag: "Path", prefix: "/video" }, "http://a.example/v"],
    ["/video/=http://a.example", { _tag: "Path", prefix: "/video" }, "http://a.example/"],
    ["/video//=http://a.example", { _tag: "Path", prefix: "/video" }, "http://a.example/"],
    ["/a=b=http://a.example/c=d", { _tag: "Path", prefix: "/a=b" }, "http://a.example/c=d"],
    ["/vidéo=http://a.example", { _tag: "Path", prefix: "/vid%C3%A9o" }, "http://a.example/"],
    ["/a/../b=http://a.example", { _tag: "Path", prefix: "/b" }, "http://a.example/"],
    ["Cdn.Example.org=https://a.example", { _tag: "Host", host: "cdn.example.org" }, "https://a.example/"],
    ["cdn.example.org:8080=https://a.example", { _tag: "Host", host: "cdn.example.org:8080" }, "https://a.example/"],
    ["cdn.example.org:80=https://a.example", { _tag: "Host", host: "cdn.example.org:80" }, "https://a.example/"],
    ["bücher.example=https://a.example", { _tag: "Host", host: "xn--bcher-kva.example" }, "https://a.example/"],
    ["[::1]=https://a.example", { _tag: "Host", host: "[::1]" }, "https://a.example/"],
    ["[::1]:81=https://a.example", { _tag: "Host", host: "[::1]:81" }, "https://a.example/"]
  ])("%s", (text, match, url) => {
    const parsed = route(text)
    assert.deepStrictEqual<unknown>(parsed.match, match)
    assert.strictEqual(parsed.url.href, url)
  })

  it.each([
    ["media.example.org", "not a URL"],
    ["", "not a URL"],
    ["http://", "not a URL"],
    ["/video", "not a URL"],
    ["/video=", "not a URL"],
    ["/video=media.example.org", "not a URL"],
    ["ftp://media.example.org", "only http, https and file"],
    ["ftp://media.example.org/a=b", "only http, https and file"],
    ["/video=ftp://media.example.org", "only http, https and file"],
    ["http://user@media.example.org", "user name or password"],
    ["/video=http://user:secret@media.example.org", "user name or password"],
    ["http://media.example.org/?a", "no query"],
    ["http://media.example.org/?", "no query"],
    ["http://media.example.org/#", "no fragment"],
    ["cdn=http://media.example.org/#a", "no fragment"],
    ["/a?b=http://media.example.org", "is no path"],
    ["/a#b=http://media.example.org", "is no path"],
    ["=http://media.example.org", "neither a path"],
    ["a/b=http://media.example.org", "neither a path"],
    ["a b=http://media.example.org", "neither a path"],
    ["a@b=http://media.example.org", "neither a path"],
    ["*.example.org=http://media.example.org", "neither a path"],
    ["cdn:99999=http://media.example.org", "neither a path"]
  ])("says what is wrong with %o", (text, reason) => {
    const parsed = parseRoute(text)
    assert.isString(parsed)
    const said = text.replace(/user.*@/, "…@").replace(/\?a$/, "?…").replace(/#a$/, "#…")
    assert.include(parsed as string, `origin "${said}": `)
    assert.notInclude(parsed as string, "secret")
    assert.include(parsed as string, reason)
    assert.notInclude(parsed as string, "\n")
  })
})

describe("accessTo", () => {
  const access = (options: Origins, url: string) => accessTo(options, new URL(url))

  it("is any for the origin of a route, whatever the path", () => {
    const configured = origins(["http://a.example/media", "/b=https://127.0.0.1:8443", "b.example=http://10.0.0.1"])
    for (
      const url of ["http://a.example/x", "http://A.example:80/", "https://127.0.0.1:8443/y?z", "http://10.0.0.1/"]
    ) {
      assert.strictEqual(access(configured, url), "any", url)
    }
    for (
      const url of [
        "https://a.example/media",
        "http://a.example:8080/media",
        "http://a.example.org/media",
        "http://b.a.example/media",
        "http://127.0.0.1:8443/",
        "https://127.0.0.1/",
        "http://b.example/",
        "ftp://a.example/",
        "file:///etc/passwd"
      ]
    ) assert.isUndefined(access(configured, url), url)
  })

  it("is any for each origin of a route", () => {
    const first = route("http://a.example")
    const mirror = { url: new URL("http://10.0.0.1/pub"), weight: 1, access: {} }
    const mirrored = { ...first, policy: { ...first.policy, origins: [...first.policy.origins, mirror] as const } }
    const all = { ...origins([]), routes: [mirrored] }
    for (const url of ["http://a.example/x", "http://10.0.0.1/x"]) assert.strictEqual(access(all, url), "any")
    assert.isUndefined(access(all, "http://10.0.0.2/x"))
  })

  it("is public for hosts that may be named, at the scheme's port unless one is said", () => {
    const named = origins([], { urlHosts: ["Example.org", "other.example:8443", "[::1]:81", "std.example:443"] })
    for (
      const url of [
        "http://example.org/a",
        "https://EXAMPLE.ORG:443/a",
        "https://other.example:8443/",
        "http://other.example:8443/",
        "http://[0:0::1]:81/",
        "https://std.example/"
      ]
    ) assert.strictEqual(access(named, url), "public", url)
    for (
      const url of [
        "http://example.org:8080/",
        "http://example.org:443/",
        "http://a.example.org/",
        "http://example.org.evil.example/",
        "http://evilexample.org/",
        "http://example.org@evil.example/",
        "http://other.example/",
        "http://std.example/",
        "http://[::1]/",
        "ftp://example.org/",
        "ws://example.org/"
      ]
    ) assert.isUndefined(access(named, url), url)
  })

  it("takes a wildcard for subdomains only", () => {
    const wild = origins([], { urlHosts: ["*.example.org", "*.ports.example:81"] })
    for (const url of ["http://a.example.org/", "https://a.b.example.org/", "http://a.ports.example:81/"]) {
      assert.strictEqual(access(wild, url), "public", url)
    }
    for (
      const url of [
        "http://example.org/",
        "http://.example.org/",
        "http://evilexample.org/",
        "http://a.example.org:81/",
        "http://a.ports.example/",
        "http://a.example.org.evil.example/"
      ]
    ) assert.isUndefined(URL.canParse(url) ? access(wild, url) : undefined, url)
  })

  it("is any for those too where private addresses are allowed, and nothing more", () => {
    const named = origins(["http://a.example"], { urlHosts: ["example.org"], allowPrivate: true })
    assert.strictEqual(access(named, "http://example.org/"), "any")
    assert.isUndefined(access(named, "http://127.0.0.1/"))
    assert.isUndefined(access(origins([], { allowPrivate: true }), "http://example.org/"))
  })
})

describe("findRoute", () => {
  const configured = origins([
    "/a=http://path-a",
    "http://all",
    "http://second-all",
    "/a/b=http://path-ab",
    "/a=http://second-a",
    "media.example=http://host",
    "media.example:8080=http://host-and-port",
    "[::1]=http://literal"
  ])

  it.each([
    [undefined, "/", "all"],
    [undefined, "/x/a", "all"],
    [undefined, "/a", "path-a"],
    [undefined, "/a/", "path-a"],
    [undefined, "/a/x", "path-a"],
    [undefined, "/ab", "all"],
    [undefined, "/A", "all"],
    [undefined, "/a/b", "path-ab"],
    [undefined, "/a/b/c", "path-ab"],
    [undefined, "/a/bc", "path-a"],
    ["other.example", "/a", "path-a"],
    ["media.example", "/a/b", "host"],
    ["Media.EXAMPLE", "/", "host"],
    ["media.example:81", "/a/b", "host"],
    ["media.example:", "/", "host"],
    ["media.example:8080", "/", "host-and-port"],
    ["x.media.example", "/", "all"],
    ["[::1]", "/", "literal"],
    ["[::1]:8080", "/", "literal"]
  ])("host %s, path %s: %s", (host, path, expected) => {
    assert.strictEqual(findRoute(configured, host, path)?.url.hostname, expected)
  })

  it("finds none where there is none", () => {
    assert.isUndefined(findRoute(origins([]), "a", "/"))
    assert.isUndefined(findRoute(origins(["/a=http://x", "h=http://y"]), "a", "/b"))
  })
})
