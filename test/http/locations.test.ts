import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Origins, parseRoute, type Route } from "../../src/domain/Route.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { type Reply, type Site, start } from "./Site.ts"

/** A site whose routes are `routes`, where ORIGIN stands for its origin and OTHER for a second one. */
const startRouted = (routes: ReadonlyArray<string>, options: Partial<Origins> = {}) =>
  Effect.gen(function*() {
    const origin = yield* makeTestOrigin
    const other = yield* makeTestOrigin
    const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
    const filled = routes.map((text) =>
      parseRoute(text.replace("ORIGIN", origin.url).replace("OTHER", other.url)) as Route
    )
    const site = yield* start({
      before: { origin, store },
      origins: { origins: { routes: filled, urlHosts: [], allowPrivate: false, ...options } }
    })
    return { site, origin, other }
  })

/** What becomes of a `Location` that the origin sends to `path`. */
const locationOf = (site: Site, path: string, location: string, more: { originPath?: string; reply?: Reply } = {}) =>
  Effect.gen(function*() {
    site.answer(more.originPath ?? path, () => ({
      status: 303,
      headers: { location, "content-location": location },
      ...more.reply
    }))
    const { headers } = yield* site.ask(path, { method: "POST", body: "x" })
    assert.strictEqual(headers["content-location"], headers["location"])
    return headers["location"]
  })

describe("Location and Content-Location", () => {
  it.effect("of the origin itself lead to this server", () =>
    Effect.gen(function*() {
      const { other, site } = yield* startRouted(["ORIGIN"])
      const at = (location: string) => locationOf(site, "/a/form", location)
      assert.strictEqual(yield* at(`${site.origin.url}/done?x=%20y#part`), "/done?x=%20y#part")
      assert.strictEqual(yield* at(site.origin.url), "/")
      assert.strictEqual(yield* at(site.origin.url.replace("http:", "")), "/")
      for (
        const same of ["/done", "done", "../done?x", "?page=2", "#part", `${other.url}/done`, "mailto:a@b", "http://["]
      ) {
        assert.strictEqual(yield* at(same), same)
      }
    }))

  it.effect("below the path that a prefix stands for lead below the prefix", () =>
    Effect.gen(function*() {
      const { site } = yield* startRouted(["/films=ORIGIN/archive", "/=ORIGIN/top"])
      const at = (location: string) => locationOf(site, "/films/form", location, { originPath: "/archive/form" })
      assert.strictEqual(yield* at("/archive/done"), "/films/done")
      assert.strictEqual(yield* at(`${site.origin.url}/archive/a/b?c`), "/films/a/b?c")
      assert.strictEqual(yield* at("/archive"), "/films")
      assert.strictEqual(yield* at("/archive/"), "/films/")
      assert.strictEqual(yield* at("done"), "done")
      // Another route of the same origin, and what no route leads to.
      assert.strictEqual(yield* at("/top/x"), "/x")
      assert.strictEqual(yield* at("/archives/x"), "/archives/x")
      assert.strictEqual(yield* at("../../secret"), "../../secret")
    }))

  it.effect("of another route's origin lead to its prefix, unless a longer one matches", () =>
    Effect.gen(function*() {
      const { other, site } = yield* startRouted(["ORIGIN", "/cdn=OTHER/files", "/cdn/private=ORIGIN/p"])
      const at = (location: string) => locationOf(site, "/form", location)
      assert.strictEqual(yield* at(`${other.url}/files/film.mp4`), "/cdn/film.mp4")
      assert.strictEqual(yield* at(`${other.url}/files/private/film.mp4`), `${other.url}/files/private/film.mp4`)
      assert.strictEqual(yield* at(`${other.url}/elsewhere`), `${other.url}/elsewhere`)
      // At the root, this would be another route's.
      assert.strictEqual(yield* at(`${site.origin.url}/cdn/x`), `${site.origin.url}/cdn/x`)
    }))

  it.effect("are mapped for GET and HEAD too, from the origin and from the cache", () =>
    Effect.gen(function*() {
      const { other, site } = yield* startRouted(["/films=ORIGIN/archive"], { urlHosts: [] })
      site.answer("/archive/kept", () => ({
        status: 404,
        headers: { "cache-control": "max-age=60", "content-location": `${site.origin.url}/archive/none` },
        body: "none"
      }))
      site.answer("/archive/own", () => ({
        headers: { "cache-control": "private", "content-location": "/archive/me" },
        body: "x"
      }))
      site.answer("/archive/moved", () => ({ status: 301, headers: { location: `${other.url}/x` } }))
      for (let i = 0; i < 2; i++) {
        assert.strictEqual((yield* site.ask("/films/kept")).headers["content-location"], "/films/none")
        assert.strictEqual((yield* site.ask("/films/own")).headers["content-location"], "/films/me")
        assert.strictEqual((yield* site.ask("/films/own", { method: "HEAD" })).headers["content-location"], "/films/me")
        assert.strictEqual((yield* site.ask("/films/moved")).headers["location"], `${other.url}/x`)
      }
      assert.lengthOf(site.seen("/archive/kept"), 1)
    }))

  it.effect("lead viewers by the route of their host", () =>
    Effect.gen(function*() {
      const { site } = yield* startRouted(["films.test=ORIGIN/films", "music.test=ORIGIN/music"])
      site.answer("/films/form", () => ({ status: 303, headers: { location: "/films/done" } }))
      const asked = { method: "POST", headers: { host: "films.test" } }
      assert.strictEqual((yield* site.ask("/form", asked)).headers["location"], "/done")
      site.answer("/films/form", () => ({ status: 303, headers: { location: "/music/done" } }))
      assert.strictEqual((yield* site.ask("/form", asked)).headers["location"], "/music/done")
    }))

  it.effect("of a URL that the viewer named lead to such a URL if allowed, or to the target itself", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const { site } = yield* startRouted([], { urlHosts: [new URL(origin.url).host], allowPrivate: true })
      const named = (url: string) => `/_spillway/url?url=${encodeURIComponent(url)}`
      origin.handlers.set("/a", (_, response) => void response.writeHead(404, { "content-location": "/b?c" }).end())
      const { headers } = yield* site.ask(named(`${origin.url}/a`))
      assert.strictEqual(headers["content-location"], named(`${origin.url}/b?c`))
      origin.handlers.set("/a", (_, response) => void response.writeHead(302, { location: "//a.test/b" }).end())
      assert.strictEqual((yield* site.ask(named(`${origin.url}/a`))).headers["location"], "http://a.test/b")
    }))
})

describe("Refresh, Link and Set-Cookie", () => {
  it.effect("lead viewers to this server too, from the origin and from the cache", () =>
    Effect.gen(function*() {
      const { site } = yield* startRouted(["/films=ORIGIN/archive"])
      const at = site.origin.url
      const fieldsOf = Effect.fnUntraced(function*(fields: Record<string, string>) {
        site.answer("/archive/a", () => ({ headers: { ...fields, "cache-control": "max-age=60", etag: "\"1\"" } }))
        const { headers } = yield* site.ask("/films/a", { method: "POST" })
        return headers
      })
      for (
        const [value, expected] of [
          [`5; url=${at}/archive/b?c`, "5; url=/films/b?c"],
          ["0;URL='/archive/b'", "0;URL='/films/b'"],
          ["5", "5"],
          ["5; url=b", "5; url=b"],
          ["5; url=https://other.example/b", "5; url=https://other.example/b"]
        ]
      ) assert.strictEqual((yield* fieldsOf({ refresh: value! }))["refresh"], expected)
      const link =
        `<${at}/archive/b>; rel="next", </archive/c>; rel=prev, <d>; rel=up, <https://other.example/>; rel=help`
      const mapped = "</films/b>; rel=\"next\", </films/c>; rel=prev, <d>; rel=up, <https://other.example/>; rel=help"
      assert.strictEqual((yield* fieldsOf({ link }))["link"], mapped)
      for (let i = 0; i < 2; i++) assert.strictEqual((yield* site.ask("/films/a")).headers["link"], mapped)
      assert.strictEqual(site.origin.requests.filter(({ method }) => method === "GET").length, 1)
    }))

  it.effect("have the viewer's host and path in cookies", () =>
    Effect.gen(function*() {
      const { site } = yield* startRouted(["/films=ORIGIN/archive"])
      const lines: ReadonlyArray<readonly [string, string]> = [
        ["a=1; Path=/archive/x/; HttpOnly", "a=1; Path=/films/x; HttpOnly"],
        ["b=2; path=/archive", "b=2; path=/films"],
        ["c=/archive;Path=/; Secure", "c=/archive;Path=/; Secure"],
        ["d=4; Path=/elsewhere", "d=4; Path=/elsewhere"],
        ["e=5; Domain=.127.0.0.1; Max-Age=5", "e=5; Max-Age=5"],
        ["f=6; Domain=other.example", "f=6; Domain=other.example"]
      ]
      site.answer("/archive/a", () => ({ headers: { "set-cookie": lines.map(([line]) => line) } }))
      const { headers } = yield* site.ask("/films/a", { headers: { host: "media.example:80" } })
      assert.deepStrictEqual(headers["set-cookie"], lines.map(([, expected]) => expected))
      // The viewer's host is within the domain.
      const same = yield* site.ask("/films/a", { headers: { host: "127.0.0.1:80" } })
      assert.strictEqual(same.headers["set-cookie"]![4], "e=5; Domain=.127.0.0.1; Max-Age=5")
    }))
})

describe("Destination of COPY and MOVE (RFC 4918)", () => {
  it.effect("is mapped to the origin's URL", () =>
    Effect.gen(function*() {
      const { other, site } = yield* startRouted(["/dav=ORIGIN/files", "/cdn=OTHER"])
      site.answer("/files/a.txt", () => ({ status: 201 }))
      const host = new URL(site.url).host
      const sent = (destination: string, method = "MOVE") =>
        Effect.map(
          site.ask("/dav/a.txt", { method, headers: { destination } }),
          () => site.seen("/files/a.txt").at(-1)!.headers["destination"]
        )
      const at = `${site.origin.url}/files/b%20c.txt`
      assert.strictEqual(yield* sent(`http://${host}/dav/b%20c.txt`), at)
      assert.strictEqual(yield* sent(`https://${host}/dav/b%20c.txt`, "COPY"), at)
      assert.strictEqual(yield* sent("/dav/b%20c.txt"), at)
      assert.strictEqual(yield* sent(`http://${host}/cdn/x`), `${other.url}/x`)
      // Who names the origin itself, or another server, is understood by the origin.
      assert.strictEqual(yield* sent(at), at)
      assert.strictEqual(yield* sent("http://elsewhere.test/x"), "http://elsewhere.test/x")
      assert.strictEqual(yield* sent("/dav/b", "POST"), "/dav/b")
    }))

  it.effect("is refused if no request could lead there", () =>
    Effect.gen(function*() {
      const { site } = yield* startRouted(["/dav=ORIGIN/files"])
      const host = new URL(site.url).host
      for (const [destination, status] of [["/other/b", 404], [`http://${host}/dav/%2e%2e%2fsecret`, 400]] as const) {
        const answer = yield* site.ask("/dav/a.txt", { method: "MOVE", headers: { destination } })
        assert.strictEqual(answer.status, status)
      }
      assert.lengthOf(site.origin.requests, 0)
    }))
})
