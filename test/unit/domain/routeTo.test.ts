import { assert, describe, it } from "@effect/vitest"
import { type Origins, parseRoute, type Route } from "../../../src/domain/Route.ts"
import { routeTo } from "../../../src/domain/routeTo.ts"

const origins: Origins = {
  routes: [
    "http://a.example",
    "/films=http://a.example/v/films",
    "/v=http://b.example",
    "own.example=http://a.example/v"
  ].map((text) => parseRoute(text) as Route),
  urlHosts: [],
  allowPrivate: false
}

describe("routeTo", () => {
  it.each([
    ["the route of the path", "/films/x?y", undefined, "http://a.example/v/films/x?y", 1],
    ["the route of the host", "/films/x", "own.example", "http://a.example/v/films/x", 3],
    ["the route for all", "/music/x", undefined, "http://a.example/music/x", 0],
    ["a path with plain dots", "/films/./x", undefined, "http://a.example/v/films/x", 1],
    ["a target that leads elsewhere: the longest URL", "/v/films/x", undefined, "http://a.example/v/films/x", 1],
    ["a URL as the target", "http://b.example/x", undefined, "http://b.example/x", 2],
    ["a URL that no route leads to", "http://c.example/x", undefined, "http://c.example/x", undefined]
  ])("finds %s", (_, target, host, url, index) => {
    const found = routeTo(origins, { host, target }, new URL(url))
    assert.strictEqual(found, index === undefined ? undefined : origins.routes[index])
  })
})
