import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { canBeHadElsewhere } from "../../../../src/domain/OriginError.ts"
import type { OriginHead } from "../../../../src/domain/Representation.ts"
import { makeRoute } from "../../../../src/domain/Route.ts"
import { defaultPolicy, type RouteOrigin, type RoutePolicy } from "../../../../src/domain/RoutePolicy.ts"
import { defaults, OriginConfig } from "../../../../src/services/config/OriginConfig.ts"
import * as mirrorOrigin from "../../../../src/services/mirrors/mirrorOrigin.ts"
import { OriginHealth } from "../../../../src/services/mirrors/OriginHealth.ts"
import { Origin, type OriginRequest } from "../../../../src/services/origin/Origin.ts"
import { MemoryOrigin, type MemoryRequest, type Misbehaviour } from "../../../../src/testing/MemoryOrigin.ts"
import * as TestOriginLayer from "../../../../src/testing/MemoryOrigin.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const film = randomBytes(100_000)

const serverAt = (href: string, weight = 1): RouteOrigin => ({ url: new URL(href), weight, access: {} })

const [A, B, C] = [serverAt("http://a.test/films"), serverAt("http://b.test/"), serverAt("http://c.test/x/y")]

const policyOf = (origins: RoutePolicy["origins"], more: Partial<RoutePolicy> = {}): RoutePolicy => ({
  ...defaultPolicy(origins[0].url),
  origins,
  ...more
})

const route = policyOf([A, B, C])

const layerWith = (config: Layer.Layer<OriginConfig>) =>
  mirrorOrigin.layer.pipe(
    Layer.provideMerge(OriginHealth.layer),
    Layer.provideMerge(config),
    Layer.provideMerge(TestOriginLayer.layer)
  )

const layerOf = (policy: RoutePolicy) =>
  layerWith(OriginConfig.layer({
    origins: { routes: [makeRoute({ _tag: "All" }, policy.origins[0].url, policy)], urlHosts: [], allowPrivate: true }
  }))

/** The film at each mirror, with its validator. */
const begin = Effect.fnUntraced(function*(etags: Readonly<Record<string, string>> = {}) {
  const origin = yield* MemoryOrigin
  for (const { url } of [A, B, C]) {
    const href = `${url.href.replace(/\/$/, "")}/film.mp4`
    origin.files.set(href, { bytes: film, etag: etags[url.hostname[0]!] ?? "\"1\"" })
  }
  return origin
})

const request = (more: Partial<OriginRequest> = {}): OriginRequest => ({
  method: "GET",
  url: "http://a.test/films/film.mp4",
  headers: {},
  route,
  ...more
})

/** The status, fields and bytes of a response. */
const get = (more: Partial<OriginRequest> = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const response = yield* (yield* Origin).request(request(more))
    return { ...response, bytes: yield* Stream.mkUint8Array(response.body) }
  }))

const hostOf = ({ url }: { readonly url: string }) => new URL(url).hostname[0]!

/** The servers that have been asked since the last call, such as `aab`; heads in capitals. */
const asked = Effect.map(
  MemoryOrigin,
  ({ requests }) =>
    requests.splice(0).map((request) => request.method === "HEAD" ? hostOf(request).toUpperCase() : hostOf(request))
      .join("")
)

const at = (hosts: string, misbehaviour: Misbehaviour) => (request: MemoryRequest) =>
  hosts.includes(hostOf(request)) ? misbehaviour : undefined

const standings = Effect.map(OriginHealth, ({ report }) => report().map(({ standing }) => standing).join())

const status = (status: number, headers: Record<string, string> = {}): Misbehaviour => ({
  _tag: "Status",
  status,
  headers
})

/** Runs `effect` while time passes. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>, seconds = 10) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let i = 0; i < seconds * 10; i++) yield* TestClock.adjust("100 millis")
    return yield* Fiber.join(fiber)
  })

const mirrors = layerOf(route)

describe("mirrorOrigin", () => {
  it.effect("asks the first origin of the route while it works", () =>
    Effect.gen(function*() {
      yield* begin()
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* get()).server, A)
      assert.strictEqual(yield* asked, "aaa")
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks for the same path, with its query, below the URL of each origin", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.behaviour = at("ab", { _tag: "Refuse" })
      yield* get({ url: "http://a.test/films/d%C3%A9/film.mp4?token=1" })
      assert.deepStrictEqual(origin.requests.map(({ url }) => url), [
        "http://a.test/films/d%C3%A9/film.mp4?token=1",
        "http://b.test/d%C3%A9/film.mp4?token=1",
        "http://c.test/x/y/d%C3%A9/film.mp4?token=1"
      ])
    }).pipe(Effect.provide(mirrors)))

  const failures: ReadonlyArray<readonly [string, Misbehaviour, string]> = [
    ["refuses connections", { _tag: "Refuse" }, "down"],
    ["sends no header", { _tag: "Silent", millis: 5000 }, "down"],
    ...[429, 502, 503, 504].map((code) => [`responds with ${code}`, status(code), "down"] as const),
    ["responds with 500", status(500), "up"]
  ]

  it.effect.each(failures)(
    "replaces an origin that %s, and says how it is doing",
    ([, misbehaviour, standing]) =>
      Effect.gen(function*() {
        const origin = yield* begin()
        origin.behaviour = at("a", misbehaviour)
        const { bytes, server, status } = yield* inTime(get())
        assert.strictEqual(status, 200)
        assert.strictEqual(server, B)
        assert.isTrue(Buffer.from(bytes).equals(film))
        assert.isTrue((yield* asked).startsWith("ab"))
        if (misbehaviour._tag !== "Silent") assert.strictEqual(yield* standings, `${standing},up,up`)
      }).pipe(Effect.provide(mirrors))
  )

  it.effect.each([400, 401, 403, 404, 410, 416, 301])(
    "passes a %i of the first origin on",
    (code) =>
      Effect.gen(function*() {
        const origin = yield* begin()
        origin.behaviour = at("a", status(code))
        assert.strictEqual((yield* get()).status, code)
        assert.strictEqual(yield* asked, "a")
        assert.strictEqual(yield* standings, "up,up,up")
      }).pipe(Effect.provide(mirrors))
  )

  it.effect("asks an origin that has failed no more until it works, and nobody waits for that", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", { _tag: "Refuse" })
      yield* get()
      yield* get()
      assert.strictEqual(yield* asked, "abb")
      // After 1 s, and then 2 s later.
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* asked, "A")
      origin.behaviour = undefined
      yield* TestClock.adjust("1999 millis")
      assert.strictEqual(yield* asked, "")
      assert.strictEqual(yield* standings, "down,up,up")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* asked, "A")
      assert.strictEqual(yield* standings, "up,up,up")
      yield* get()
      assert.strictEqual(yield* asked, "a")
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks an origin that is down for long once a minute", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", { _tag: "Refuse" })
      yield* get()
      yield* asked
      yield* TestClock.adjust("2 minutes")
      yield* asked
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* asked, "A".repeat(10))
    }).pipe(Effect.provide(mirrors)))

  it.effect("doubles the pause of an origin that comes and goes, up to a minute", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      const pauses: Array<number> = []
      for (let outage = 0; outage < 9; outage++) {
        origin.behaviour = at("a", { _tag: "Refuse" })
        yield* get()
        origin.behaviour = undefined
        let pause = 0
        while ((yield* standings).startsWith("down")) {
          yield* TestClock.adjust("500 millis")
          pause += 0.5
        }
        pauses.push(pause)
      }
      assert.deepStrictEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60])
    }).pipe(Effect.provide(mirrors)))

  it.effect("waits as long as Retry-After says before it asks again", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", status(503, { "retry-after": "30" }))
      yield* get()
      origin.behaviour = undefined
      yield* asked
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(yield* asked, "")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* asked, "A")
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks all origins when none works, and uses the first that does", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("abc", { _tag: "Refuse" })
      const first = yield* Effect.flip(get())
      assert.include(first.url, "a.test")
      yield* Effect.flip(get())
      assert.strictEqual(yield* asked, "abcabc")
      assert.strictEqual(yield* standings, "down,down,down")
      origin.behaviour = at("a", { _tag: "Refuse" })
      yield* get()
      assert.strictEqual(yield* asked, "ab")
      assert.strictEqual(yield* standings, "down,up,down")
    }).pipe(Effect.provide(mirrors)))

  it.effect("passes the first response on when all origins are unavailable", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = (request) => {
        const host = hostOf(request)
        return host === "a" ? { _tag: "Refuse" } : status(503, { from: host })
      }
      const { headers, status: code } = yield* get()
      assert.strictEqual(code, 503)
      assert.strictEqual(headers["from"], "b")
      assert.strictEqual(origin.open, 0)
    }).pipe(Effect.provide(mirrors)))

  it.effect("ends the connections of responses that it doesn't use", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("ab", status(503))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* (yield* Origin).request(request())
        assert.strictEqual(origin.open, 1)
      }))
      assert.strictEqual(origin.open, 0)
    }).pipe(Effect.provide(mirrors)))

  it.effect("sends what changes something to the first origin only", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", status(503))
      for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
        assert.strictEqual((yield* get({ method })).status, 503)
      }
      assert.strictEqual((yield* get({ body: Stream.empty })).status, 503)
      assert.strictEqual(yield* asked, "aaaaa")
    }).pipe(Effect.provide(mirrors)))

  it.effect("tells whoever reads a body that fails whether the rest is elsewhere", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      const elsewhere: Array<boolean> = []
      for (const host of ["a", "b", "c"]) {
        origin.behaviour = at(host, { _tag: "Reset", after: 1000 })
        elsewhere.push(canBeHadElsewhere(yield* Effect.flip(get())))
      }
      assert.deepStrictEqual(elsewhere, [true, true, false])
      assert.strictEqual(yield* asked, "abc")
    }).pipe(Effect.provide(mirrors)))

  it.effect("passes over origins whose response isn't accepted", () =>
    Effect.gen(function*() {
      yield* begin({ b: "\"2\"", c: "\"2\"" })
      const accepts = ({ headers }: OriginHead) => headers["etag"] === "\"2\""
      const { headers, server } = yield* get({ accepts })
      assert.strictEqual(headers["etag"], "\"2\"")
      assert.strictEqual(server, B)
      assert.strictEqual(yield* asked, "ab")
      // Until one with this version is known to have it.
      yield* get({ accepts })
      assert.strictEqual(yield* asked, "b")
      // No other file stays there.
      yield* get({ file: "http://a.test/films/other.mp4" })
      assert.strictEqual(yield* asked, "a")
      yield* TestClock.adjust("10 minutes")
      yield* get({ accepts })
      assert.strictEqual(yield* asked, "ab")
    }).pipe(Effect.provide(mirrors)))

  it.effect("gives the first response if none is accepted", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      const { server } = yield* get({ accepts: () => false })
      assert.strictEqual(server, A)
      assert.strictEqual(origin.open, 0)
    }).pipe(Effect.provide(mirrors)))

  it.effect("prefers a failure that may soon be over to a response that isn't accepted", () =>
    Effect.gen(function*() {
      const origin = yield* begin({ b: "\"2\"", c: "\"2\"" })
      const accepts = ({ headers }: OriginHead) => headers["etag"] === "\"1\""
      origin.behaviour = at("a", { _tag: "Refuse" })
      assert.strictEqual((yield* Effect.flip(get({ accepts })))._tag, "OriginUnreachable")
      origin.behaviour = at("a", status(503))
      assert.strictEqual((yield* get({ accepts })).status, 503)
      assert.strictEqual(origin.open, 0)
    }).pipe(Effect.provide(mirrors)))

  it.effect("leaves a file at the origin that replaced another with another validator", () =>
    Effect.gen(function*() {
      const origin = yield* begin({ b: "\"2\"" })
      const validate = (etag: string) => get({ headers: { "if-none-match": etag } })
      origin.behaviour = at("a", { _tag: "Refuse" })
      assert.strictEqual((yield* validate("\"1\"")).status, 200)
      origin.behaviour = undefined
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* standings, "up,up,up")
      yield* asked
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* validate("\"2\"")).status, 304)
      assert.strictEqual(yield* asked, "bbb")
    }).pipe(Effect.provide(mirrors)))

  it.effect("goes back to the first origin at once if it has the same validator", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", { _tag: "Refuse" })
      assert.strictEqual((yield* get({ headers: { "if-none-match": "\"1\"" } })).status, 304)
      origin.behaviour = undefined
      yield* TestClock.adjust("5 seconds")
      yield* asked
      yield* get()
      assert.strictEqual(yield* asked, "a")
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks the origin last that is to be avoided", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      yield* get({ avoid: [A] })
      origin.behaviour = at("b", { _tag: "Refuse" })
      yield* get({ avoid: [A] })
      origin.behaviour = at("bc", { _tag: "Refuse" })
      yield* get({ avoid: [A] })
      assert.strictEqual(yield* asked, "bbccba")
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks those last that are to be avoided, in their order, also after one that is down", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("c", { _tag: "Refuse" })
      yield* get({ avoid: [A, B] })
      origin.behaviour = at("cb", { _tag: "Refuse" })
      yield* get({ avoid: [B, A] })
      assert.strictEqual(yield* asked, "cacba")
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks others first while an origin is slow", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      let latency = 4000
      origin.latency = () => latency
      for (let i = 0; i < 3; i++) {
        yield* inTime(Effect.scoped(Effect.flatMap(Origin, (origin) => origin.request(request()))))
      }
      assert.strictEqual(yield* standings, "slow,up,up")
      latency = 0
      yield* asked
      assert.strictEqual((yield* inTime(get(), 0.1)).server, B)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* standings, "up,up,up")
    }).pipe(Effect.provide(mirrors)))

  it.effect("counts requests that are given up as slow", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", { _tag: "Silent", millis: 60_000 })
      for (let i = 0; i < 3; i++) yield* inTime(Effect.ignore(Effect.timeout(get(), "4 seconds")), 5)
      assert.strictEqual(yield* standings, "slow,up,up")
    }).pipe(Effect.provide(mirrors)))

  it.effect("names places at any origin as the first one would", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      const places: ReadonlyArray<readonly [string, string]> = [
        ["http://b.test/dir/", "http://a.test/films/dir/"],
        ["/dir/?q", "http://a.test/films/dir/?q"],
        ["other.mp4", "http://a.test/films/other.mp4"],
        ["http://elsewhere.test/x", "http://elsewhere.test/x"]
      ]
      for (const [location, expected] of places) {
        origin.behaviour = (request) => hostOf(request) === "a" ? { _tag: "Refuse" } : status(302, { location })
        assert.strictEqual((yield* get()).headers["location"], expected)
      }
    }).pipe(Effect.provide(mirrors)))

  it.effect("asks nobody about a route of which it knows one origin", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("a", { _tag: "Refuse" })
      const alone = policyOf([A])
      yield* Effect.flip(get({ route: alone }))
      assert.strictEqual((yield* standings).slice(0, 4), "down")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* asked, "a")
      origin.behaviour = undefined
      yield* get({ route: alone })
      assert.strictEqual(yield* standings, "up")
    }).pipe(Effect.provide(layerOf(policyOf([A])))))
})

describe("weighted origins", () => {
  const [D, E, F] = [
    serverAt("http://a.test/films", 3),
    serverAt("http://b.test/", 1),
    serverAt("http://c.test/x/y", 0)
  ]
  const weighted = policyOf([D, E, F], { choice: "weighted" })

  const serverOf = (path: string) =>
    Effect.map(get({ route: weighted, url: `http://a.test/films${path}` }), ({ server }) => server)

  it.effect("get files by their weight, each file always the same one", () =>
    Effect.gen(function*() {
      const shares = new Map<RouteOrigin | undefined, number>()
      for (let i = 0; i < 2000; i++) {
        const server = yield* serverOf(`/film${i}.mp4`)
        shares.set(server, (shares.get(server) ?? 0) + 1)
        if (i < 100) assert.strictEqual(yield* serverOf(`/film${i}.mp4`), server)
      }
      assert.closeTo(shares.get(D)! / 2000, 0.75, 0.03)
      assert.closeTo(shares.get(E)! / 2000, 0.25, 0.03)
      assert.isUndefined(shares.get(F))
    }).pipe(Effect.provide(layerOf(weighted))))

  it.effect("stand in for one that fails, also those without weight", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.behaviour = at("a", { _tag: "Refuse" })
      for (let i = 0; i < 50; i++) assert.strictEqual(yield* serverOf(`/film${i}.mp4`), E)
      origin.behaviour = at("ab", { _tag: "Refuse" })
      for (let i = 0; i < 50; i++) assert.strictEqual(yield* serverOf(`/film${i}.mp4`), F)
    }).pipe(Effect.provide(layerOf(weighted))))
})

describe("active checks", () => {
  const checked = policyOf([A, B], { check: { path: "/health", every: 5000 } })

  it.effect("find an origin that fails before a viewer does, and that it works again", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      for (const host of ["a.test/films", "b.test"]) origin.files.set(`http://${host}/health`, { bytes: film })
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(origin.requests.splice(0).map(({ method, url }) => `${method} ${url}`), [
        "GET http://a.test/films/health",
        "GET http://b.test/health"
      ])
      origin.behaviour = at("a", status(500))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* standings, "down,up")
      yield* asked
      yield* get({ route: checked })
      assert.strictEqual(yield* asked, "b")
      origin.behaviour = undefined
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* standings, "up,up")
    }).pipe(Effect.provide(layerOf(checked))))

  it.effect("follow the configuration when it is reloaded, and nobody asks after an origin that it has no more", () => {
    const [first, second] = [policyOf([A, B]), policyOf([A, C], { check: { path: "/health", every: 5000 } })]
    const routesOf = (policy: RoutePolicy) => ({
      routes: [makeRoute({ _tag: "All" }, policy.origins[0].url, policy)],
      urlHosts: [],
      allowPrivate: true
    })
    const options = { ...defaults, origins: routesOf(first) }
    return Effect.gen(function*() {
      const origin = yield* begin()
      origin.behaviour = at("b", { _tag: "Refuse" })
      yield* get({ route: first, avoid: [A] })
      assert.strictEqual(yield* standings, "up,down")
      yield* asked
      Object.assign(options, { origins: routesOf(second) })
      for (const href of ["http://a.test/films/health", "http://c.test/x/y/health"]) {
        origin.files.set(href, { bytes: film })
      }
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* standings, "up,up")
      const hosts = yield* asked
      assert.match(hosts, /^B?[ac]+$/)
      assert.include(hosts, "c")
    }).pipe(Effect.provide(layerWith(Layer.succeed(OriginConfig, options))))
  })

  it.effect("expect a success", () =>
    Effect.gen(function*() {
      const origin = yield* begin()
      origin.files.set("http://a.test/films/health", { bytes: film })
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(yield* standings, "up,down")
    }).pipe(Effect.provide(layerOf(checked))))
})
