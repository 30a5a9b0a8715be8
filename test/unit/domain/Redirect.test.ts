import { assert, describe, it } from "@effect/vitest"
import { follow, type Hop } from "../../../src/domain/Redirect.ts"
import { type Origins, parseRoute, type Route } from "../../../src/domain/Route.ts"

const origins = (options: Partial<Origins> = {}): Origins => ({
  routes: [parseRoute("http://route.example/films") as Route],
  urlHosts: ["named.example"],
  allowPrivate: false,
  ...options
})

const hop: Hop = {
  url: new URL("http://route.example/films/a"),
  access: "any",
  headers: { authorization: "a", cookie: "b", host: "c", range: "bytes=0-", "x-token": "d" },
  secrets: ["x-token"],
  isFirstOrigin: true,
  isCookieWithheld: false
}

const named: Hop = { ...hop, url: new URL("http://named.example/a"), access: "public" }

const to = (location: string, status = 302) => ({ status, headers: { location } })

describe("follow", () => {
  it("keeps everything within an origin", () => {
    assert.deepStrictEqual(follow(origins(), hop, to("b?c")), {
      ...hop,
      url: new URL("http://route.example/films/b?c")
    })
    assert.deepStrictEqual(follow(origins(), named, to("/b")), { ...named, url: new URL("http://named.example/b") })
  })

  it("takes nothing along to another origin that is for the first", () => {
    const next = follow(origins(), hop, to("http://named.example/b"))
    assert.deepStrictEqual(next?.headers, { range: "bytes=0-" })
    assert.strictEqual(next?.access, "public")
    assert.isFalse(next?.isFirstOrigin)
  })

  it("passes on what a withheld cookie may have caused", () => {
    const next = follow(origins(), hop, to("http://named.example/b"))!
    assert.isUndefined(follow(origins(), next, to("/login")))
    const { cookie: _, ...headers } = hop.headers
    const without = follow(origins(), { ...hop, headers }, to("http://named.example/b"))!
    assert.strictEqual(follow(origins(), without, to("/c"))?.url.pathname, "/c")
  })

  it("leads no viewer to an origin that is the operator's alone to name, whatever addresses are allowed", () => {
    assert.isUndefined(follow(origins(), named, to("http://route.example/films/a")))
    assert.isUndefined(follow(origins({ urlHosts: [] }), named, to("http://route.example/secret")))
    const both = origins({ urlHosts: ["named.example", "route.example"] })
    assert.strictEqual(follow(both, named, to("http://route.example/films/a"))?.access, "public")
    assert.strictEqual(follow(both, hop, to("http://route.example/other"))?.access, "any")
  })

  it("passes on what sets a cookie", () => {
    const { headers } = to("b")
    assert.isUndefined(follow(origins(), hop, { status: 302, headers: { ...headers, "set-cookie": "id=1" } }))
  })

  it.each([
    ["http://other.example/", 302],
    ["https://route.example/", 302],
    ["http://route.example:81/", 301],
    ["file:///etc/passwd", 302],
    ["http://", 302],
    ["/b", 200],
    ["/b", 300],
    ["/b", 304]
  ])("is not to %s by %i", (location, status) => {
    assert.isUndefined(follow(origins(), hop, to(location, status)))
  })
})
