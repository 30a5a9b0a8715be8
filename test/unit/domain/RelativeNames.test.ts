import { assert, describe, it } from "@effect/vitest"
import { needsRedirect } from "../../../src/domain/RelativeNames.ts"
import { type Origins, parseRoute, type Route } from "../../../src/domain/Route.ts"

const origins = (routes: ReadonlyArray<string>, options: Partial<Origins> = {}): Origins => ({
  routes: routes.map((text) => parseRoute(text) as Route),
  urlHosts: ["cdn.test"],
  allowPrivate: false,
  ...options
})

const all = origins(["http://o.test"])

const seen = (from: string, to: string, answer?: Record<string, string>, configured = all) =>
  needsRedirect(configured, new URL(from, "http://o.test"), new URL(to, "http://o.test"), answer)

describe("needsRedirect", () => {
  it.each([
    ["/sub", "/sub/"],
    ["/live", "/live/abc/index.m3u8"],
    ["/live/index.m3u8", "/session/1/index.m3u8?t"],
    ["/a/index.m3u8", "http://cdn.test/a/index.m3u8"],
    ["/show", "/show/stream.mpd"],
    ["/show", "/video.ism/Manifest"],
    ["/doc", "/doc/v2/index.html"],
    ["/theme.css", "/static/1/theme.css"]
  ])("holds by the name of what is elsewhere and may name others: %s to %s", (from, to) => {
    assert.isTrue(seen(from, to))
  })

  it.each([
    ["/film", "/files/1/film.mp4"],
    ["/latest", "/files/2"],
    ["/a.mp4", "http://cdn.test/signed?x=y/"],
    // Names in it lead to the same places.
    ["/old.html", "/new.html"],
    ["/sub/", "/sub/?page=1"],
    ["/a/index.m3u8?x", "/a/index.m3u8?y"]
  ])("does not hold for files, nor in the same directory: %s to %s", (from, to) => {
    assert.isFalse(seen(from, to))
  })

  it.each([
    ["text/html; charset=utf-8", true],
    ["application/vnd.apple.mpegurl", true],
    ["audio/x-mpegurl", true],
    ["application/dash+xml", true],
    ["image/svg+xml", true],
    ["text/css", true],
    ["text/vtt", true],
    ["video/mp4", false],
    ["application/json", false],
    ["application/octet-stream", false],
    [undefined, false]
  ])("goes by the type of what is there, once that is known: %s", (type, expected) => {
    const answer = type === undefined ? {} : { "content-type": type }
    assert.strictEqual(seen("/latest", "/files/2", answer), expected)
    assert.isFalse(seen("/a", "/b", answer))
  })

  it("does not hold where viewers could not get to", () => {
    const below = origins(["/films=http://o.test/archive", "films.test=http://h.test/f"])
    assert.isTrue(seen("/archive/a", "/archive/b/", undefined, below))
    assert.isFalse(seen("/archive/a", "/archives/b/", undefined, below))
    assert.isTrue(seen("http://h.test/f/a", "http://h.test/f/b/", undefined, below))
    // The route of a host is for that host alone.
    assert.isFalse(seen("/archive/a", "http://h.test/f/b/", undefined, below))
    // An application opens any URL, and no viewer asks for one.
    assert.isFalse(seen("/sub", "/sub/", undefined, origins([])))
  })
})
