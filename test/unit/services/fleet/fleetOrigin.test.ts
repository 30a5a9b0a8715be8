import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { firstRound } from "../../../../src/domain/FleetPurge.ts"
import type { OriginError } from "../../../../src/domain/OriginError.ts"
import { type Candidate, rank } from "../../../../src/domain/Rendezvous.ts"
import { CacheConfig } from "../../../../src/services/config/CacheConfig.ts"
import { OriginConfig } from "../../../../src/services/config/OriginConfig.ts"
import { Fleet } from "../../../../src/services/fleet/Fleet.ts"
import * as fleetOrigin from "../../../../src/services/fleet/fleetOrigin.ts"
import { Origin, type PeerQuestion } from "../../../../src/services/origin/Origin.ts"
import { MemoryOrigin, type Misbehaviour } from "../../../../src/testing/MemoryOrigin.ts"
import * as TestOriginLayer from "../../../../src/testing/MemoryOrigin.ts"
import { configured, Engine, fleetOf, options, Peers } from "../../../support/fleet.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const STRETCH = options.stretch
const file = randomBytes(8 * STRETCH + 100)
const nodes: ReadonlyArray<Candidate> = ["n1", "n2", "n3"].map((name) => ({ name, weight: 1 }))

const orderOf = (path: string, stretch = 0): string =>
  rank(nodes, `http://origin.test${path}`, stretch).map(({ name }) => name).join()

/** A path whose first stretch is ranked like this, and whose fourth one is owned by `fourth`, if given. */
const pathWith = (order: string, fourth = ""): string => {
  for (let i = 0;; i++) {
    const path = `/film${i}`
    if (orderOf(path) === order && orderOf(path, 3).startsWith(fourth)) return path
  }
}

/** Three nodes, of which this one is `n1`. All have the file at `path`. */
const begin = Effect.fnUntraced(function*(path: string, bytes = file) {
  const engine = yield* Engine
  engine.nodes = ["n1", "n2", "n3"].map(configured)
  yield* TestClock.adjust("3 seconds")
  const origin = yield* MemoryOrigin
  for (const host of ["origin.test", "n2.peer", "n3.peer"]) {
    origin.files.set(`http://${host}${path}`, { bytes, etag: "\"1\"" })
  }
  return origin
})

const questionOf = (path: string, more: Partial<PeerQuestion> = {}): PeerQuestion => ({
  url: `http://origin.test${path}`,
  target: path,
  host: "media.test",
  ...more
})

interface Asked {
  readonly headers?: Record<string, string>
  readonly peers?: Partial<PeerQuestion>
}

/** The status, the fields and the bytes of a response. */
const get = (path: string, { headers = {}, peers = {} }: Asked = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const origin = yield* Origin
    const url = `http://origin.test${path}`
    const response = yield* origin.request({ method: "GET", url, headers, peers: questionOf(path, peers) })
    return { ...response, bytes: yield* Stream.mkUint8Array(response.body) }
  }))

const requests = Effect.map(
  MemoryOrigin,
  (origin) =>
    origin.requests.map(({ headers, url }) => `${new URL(url).hostname.split(".")[0]} ${headers["range"] ?? "all"}`)
)

const isFrom = (host: string) => ({ url }: { readonly url: string }) => url.startsWith(`http://${host}.`)

/** `misbehaviour` of a host at its first request. */
const once = (host: string, misbehaviour: Misbehaviour) => {
  let isOver = false
  return (request: { readonly url: string }): Misbehaviour | undefined => {
    if (isOver || !isFrom(host)(request)) return undefined
    isOver = true
    return misbehaviour
  }
}

const assertBytes = (bytes: Uint8Array, expected: Uint8Array) =>
  assert.isTrue(Buffer.from(bytes).equals(expected), `${bytes.length} of ${expected.length} bytes`)

/** Runs `effect` while time passes. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>, seconds = 10) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let i = 0; i < seconds * 10; i++) yield* TestClock.adjust("100 millis")
    return yield* Fiber.join(fiber)
  })

describe("fleetOrigin", () => {
  it.effect("gets each stretch from the node that owns it, and its own from the origin, each byte once", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      const origin = yield* begin(path)
      const { bytes, headers, status } = yield* get(path)
      assertBytes(bytes, file)
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-length"], String(file.length))
      assert.isUndefined(headers["content-range"])
      assert.strictEqual(origin.requests.reduce((sum, { sent }) => sum + sent, 0), file.length)
      const hostOf: Record<string, string> = { n1: "origin", n2: "n2", n3: "n3" }
      for (let stretch = 0; stretch * STRETCH < file.length; stretch++) {
        const owner = hostOf[orderOf(path, stretch).slice(0, 2)]
        const asked = (yield* requests).filter((request) => {
          const [, first, last] = /=(\d+)-(\d+)$/.exec(request)!
          return Number(first) <= stretch * STRETCH && stretch * STRETCH <= Number(last)
        })
        assert.deepStrictEqual(asked.map((request) => request.split(" ")[0]), [owner], `stretch ${stretch}`)
      }
    }).pipe(Effect.provide(fleetOf())))

  it.effect("continues with the right byte at an origin that ignores ranges", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1", "n1")
      const origin = yield* begin(path)
      origin.files.set(`http://origin.test${path}`, { bytes: file, etag: "\"1\"", acceptsRanges: false })
      for (const range of [undefined, `bytes=10-${6 * STRETCH}`]) {
        const { bytes } = yield* get(path, { headers: range === undefined ? {} : { range } })
        assertBytes(bytes, range === undefined ? file : file.subarray(10, 6 * STRETCH + 1))
      }
      assert.isTrue((yield* requests).some((request) => request.startsWith("origin")), "nothing came from the origin")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("gets a range from the node that owns its first byte", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      yield* begin(path)
      const { bytes, headers, status } = yield* get(path, { headers: { range: "bytes=10-99" } })
      assert.strictEqual(status, 206)
      assert.strictEqual(headers["content-range"], `bytes 10-99/${file.length}`)
      assertBytes(bytes, file.subarray(10, 100))
      assert.deepStrictEqual(yield* requests, ["n2 bytes=10-99"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("gets a suffix from the node that owns the first stretch", () =>
    Effect.gen(function*() {
      const path = pathWith("n3,n2,n1")
      yield* begin(path)
      const { bytes, headers, status } = yield* get(path, { headers: { range: "bytes=-50" } })
      assert.strictEqual(status, 206)
      assert.strictEqual(headers["content-range"], `bytes ${file.length - 50}-${file.length - 1}/${file.length}`)
      assertBytes(bytes, file.subarray(file.length - 50))
      assert.deepStrictEqual(yield* requests, ["n3 bytes=-50"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("asks only nodes that rank above this one, then the origin", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n1,n3")
      const origin = yield* begin(path)
      origin.behaviour = (request) => isFrom("n2")(request) ? { _tag: "Refuse" } : undefined
      const { bytes } = yield* get(path, { headers: { range: "bytes=0-9" } })
      assertBytes(bytes, file.subarray(0, 10))
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-9", "origin bytes=0-9"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("hands on no request of another node", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      yield* begin(path)
      const { bytes } = yield* get(path, { headers: { range: "bytes=0-9" }, peers: { from: "n3" } })
      assertBytes(bytes, file.subarray(0, 10))
      assert.deepStrictEqual(yield* requests, ["origin bytes=0-9"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("asks only the origin for what is purged, until all nodes have done that", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      yield* begin(path)
      const { unsettled } = yield* Fleet
      const purge = firstRound("n3", 0, [{ _tag: "Url", url: `http://origin.test${path}` }])
      unsettled.begin(purge)
      const headers = { range: "bytes=0-9" }
      yield* get(path, { headers })
      unsettled.end(purge)
      yield* get(path, { headers })
      assert.deepStrictEqual(yield* requests, ["origin bytes=0-9", "n2 bytes=0-9"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("leaves requests alone that can't be asked of other nodes", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      yield* begin(path)
      const origin = yield* Origin
      const url = `http://origin.test${path}`
      const peers = questionOf(path)
      yield* Effect.scoped(origin.request({ method: "GET", url, headers: {} }))
      yield* Effect.scoped(origin.request({ method: "POST", url, headers: {}, peers }))
      yield* Effect.scoped(origin.request({ method: "GET", url, headers: { range: "bytes=0-1,5-9" }, peers }))
      assert.deepStrictEqual(yield* requests, ["origin all", "origin all", "origin bytes=0-1,5-9"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("tells of other nodes in Cache-Status only what the last one says", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      const origin = yield* begin(path)
      const headers = { "cache-status": "Origin; hit, spillway/n3; fwd=miss, spillway/n1; hit, spillway/n2; hit" }
      origin.files.set(`http://n2.peer${path}`, { bytes: file, etag: "\"1\"", headers })
      const response = yield* get(path, { headers: { range: "bytes=0-9" } })
      assert.strictEqual(response.headers["cache-status"], "Origin; hit, spillway/n2; hit")
      assert.isFalse(response.hasLostPeer)
    }).pipe(Effect.provide(fleetOf())))

  it.effect("sends other nodes no field that is secret", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      yield* begin(path)
      const headers = { "range": "bytes=0-9", "x-token": "secret", "accept-language": "de" }
      const origin = yield* Origin
      const url = `http://origin.test${path}`
      yield* Effect.scoped(
        origin.request({ method: "GET", url, headers, secrets: ["x-token"], peers: questionOf(path) })
      )
      const [{ headers: sent } = { headers: {} }] = (yield* MemoryOrigin).requests
      assert.deepStrictEqual(sent, { "range": "bytes=0-9", "accept-language": "de" })
    }).pipe(Effect.provide(fleetOf())))

  it.effect("asks for an empty file again without a range", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      yield* begin(path, Buffer.alloc(0))
      const { bytes, status } = yield* get(path)
      assert.strictEqual(status, 200)
      assert.lengthOf(bytes, 0)
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-524287", "origin all"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("passes on what isn't a file, without asking again", () =>
    Effect.gen(function*() {
      const path = pathWith("n2,n3,n1")
      const origin = yield* begin(path)
      for (const status of [304, 404, 410, 412]) {
        origin.requests.length = 0
        origin.behaviour = () => ({ _tag: "Status", status })
        assert.strictEqual((yield* get(path)).status, status)
        assert.lengthOf(origin.requests, 1)
      }
    }).pipe(Effect.provide(fleetOf())))
})

/** The response to a HEAD. */
const head = (path: string, peers: Partial<PeerQuestion> = {}) =>
  Effect.scoped(
    Effect.flatMap(Origin, (origin) =>
      origin.request({ method: "HEAD", url: `http://origin.test${path}`, headers: {}, peers: questionOf(path, peers) }))
  )

describe("a request for the head", () => {
  const path = pathWith("n2,n3,n1")

  it.effect("goes to the node that owns the first byte, without a range", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      const { headers, status } = yield* head(path)
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-length"], String(file.length))
      assert.deepStrictEqual(origin.requests.map(({ method }) => method), ["HEAD"])
      assert.deepStrictEqual(yield* requests, ["n2 all"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("goes to the next node, and to the origin at last", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = (request) => isFrom("origin")(request) ? undefined : { _tag: "Refuse" }
      assert.strictEqual((yield* head(path)).status, 200)
      assert.deepStrictEqual(yield* requests, ["n2 all", "n3 all", "origin all"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("goes to a former owner for what that has", () =>
    Effect.gen(function*() {
      const own = pathWith("n1,n2,n3")
      const origin = yield* begin(own)
      assert.strictEqual((yield* head(own)).status, 200)
      assert.strictEqual(origin.requests[0]!.headers["wants"], "cached")
      assert.deepStrictEqual(yield* requests, ["n2 all"])
    }).pipe(Effect.provide(fleetOf({ settle: 3_600_000 }))))
})

describe("a request with credentials", () => {
  const path = pathWith("n2,n3,n1")
  const headers = { range: "bytes=0-99", authorization: "Basic eA==", "x-api-key": "y", accept: "*/*" }
  const asked = { headers, peers: { hasCredential: true } }

  /** The owner has a file with this field. */
  const withFile = Effect.fnUntraced(function*(cacheControl: string) {
    const origin = yield* begin(path)
    for (const host of ["origin.test", "n2.peer", "n3.peer"]) {
      origin.files.set(`http://${host}${path}`, {
        bytes: file,
        etag: "\"1\"",
        headers: { "cache-control": cacheControl }
      })
    }
    return origin
  })

  it.effect.each(["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"])(
    "is answered by what the owner has if that is for everybody (%s), and the owner gets no credentials",
    (cacheControl) =>
      Effect.gen(function*() {
        const origin = yield* withFile(cacheControl)
        assertBytes((yield* get(path, asked)).bytes, file.subarray(0, 100))
        assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99"])
        const [{ headers: sent } = { headers: {} }] = origin.requests
        assert.deepStrictEqual(sent, { range: "bytes=0-99", accept: "*/*", wants: "cached" })
      }).pipe(Effect.provide(fleetOf()))
  )

  it.effect.each(["max-age=60", "private, max-age=60"])(
    "goes to the origin with its credentials if what the owner has isn't for everybody (%s)",
    (cacheControl) =>
      Effect.gen(function*() {
        const origin = yield* withFile(cacheControl)
        assertBytes((yield* get(path, asked)).bytes, file.subarray(0, 100))
        assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99", "origin bytes=0-99"])
        assert.deepStrictEqual(origin.requests[1]!.headers, headers)
        assert.strictEqual(origin.open, 0)
      }).pipe(Effect.provide(fleetOf()))
  )

  it.effect("goes to the origin if the owner has nothing, and to no other node", () =>
    Effect.gen(function*() {
      const origin = yield* withFile("public, max-age=60")
      origin.behaviour = (request) => isFrom("n2")(request) ? { _tag: "Status", status: 504 } : undefined
      assertBytes((yield* get(path, asked)).bytes, file.subarray(0, 100))
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99", "origin bytes=0-99"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("gets the rest of what the owner has from the origin, with its credentials", () =>
    Effect.gen(function*() {
      const origin = yield* withFile("public, max-age=60")
      const truncated = once("n2", { _tag: "Truncate", after: 40 })
      origin.behaviour = (request) => isFrom("n3")(request) ? { _tag: "Status", status: 504 } : truncated(request)
      assertBytes((yield* get(path, asked)).bytes, file.subarray(0, 100))
      assert.deepStrictEqual((yield* requests).slice(-1), ["origin bytes=40-99"])
      assert.strictEqual(origin.requests.at(-1)!.headers["authorization"], headers.authorization)
      assert.strictEqual(origin.requests.at(-1)!.headers["if-range"], "\"1\"")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("for the head is answered in the same way", () =>
    Effect.gen(function*() {
      yield* withFile("public, max-age=60")
      assert.strictEqual((yield* head(path, { hasCredential: true })).status, 200)
      assert.deepStrictEqual(yield* requests, ["n2 all"])
    }).pipe(Effect.provide(fleetOf())))
})

describe("a node that fails", () => {
  const path = pathWith("n2,n3,n1")
  const range = { range: "bytes=0-99999" }
  const expected = file.subarray(0, 100_000)

  it.effect("is followed by the next one in rank at the exact byte", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = once("n2", { _tag: "Reset", after: 40_000 })
      const { bytes } = yield* get(path, { headers: range })
      assertBytes(bytes, expected)
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99999", "n3 bytes=40000-99999"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("is followed by the next one when its body is too short", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = once("n2", { _tag: "Truncate", after: 40_000 })
      const { bytes } = yield* get(path, { headers: range })
      assertBytes(bytes, expected)
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99999", "n3 bytes=40000-99999"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("is followed by the origin when no node is left, and is not lost while it answers", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = (request) => isFrom("origin")(request) ? undefined : { _tag: "Reset", after: 40_000 }
      const { bytes } = yield* get(path, { headers: range })
      assertBytes(bytes, expected)
      assert.deepStrictEqual(yield* requests, [
        "n2 bytes=0-99999",
        "n3 bytes=40000-99999",
        "origin bytes=80000-99999"
      ])
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual((yield* Fleet).peers().map(({ state }) => state), ["Here", "Here"])
      assert.deepStrictEqual((yield* Peers).questions, ["n2", "n3"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("isn't taken for the source of the bytes that come from the origin after it", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = (request) => isFrom("origin")(request) ? undefined : { _tag: "Reset", after: 40_000 }
      const sources: Array<boolean> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const { request } = yield* Origin
        const url = `http://origin.test${path}`
        const response = yield* request({ method: "GET", url, headers: range, peers: questionOf(path) })
        let bytes = 0
        yield* Stream.runForEach(response.body, (piece) =>
          Effect.sync(() => {
            bytes += piece.length
            const isFromPeer = response.isFromPeer!()
            assert.strictEqual(isFromPeer, bytes <= 80_000, `after ${bytes} bytes`)
            sources.push(isFromPeer)
          }))
      }))
      assert.sameMembers([...new Set(sources)], [true, false])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("is asked again for the next stretch", () =>
    Effect.gen(function*() {
      const first = pathWith("n2,n3,n1")
      const origin = yield* begin(first)
      origin.behaviour = once("n2", { _tag: "Reset", after: 1000 })
      assertBytes((yield* get(first)).bytes, file)
      const others = (yield* requests).filter((request) => request.startsWith("n2"))
      assert.isAbove(others.length, 1)
    }).pipe(Effect.provide(fleetOf())))

  it.effect.each<[string, Misbehaviour]>([
    ["403", { _tag: "Status", status: 403 }],
    ["500", { _tag: "Status", status: 500 }],
    ["502", { _tag: "Status", status: 502 }],
    ["503", { _tag: "Status", status: 503 }]
  ])(
    "leaves the request to the origin when it can't get the file itself: %s",
    ([, misbehaviour]) =>
      Effect.gen(function*() {
        const origin = yield* begin(path)
        origin.behaviour = once("n2", misbehaviour)
        assertBytes((yield* get(path, { headers: range })).bytes, expected)
        assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99999", "origin bytes=0-99999"])
      }).pipe(Effect.provide(fleetOf()))
  )

  it.effect("is passed over when its answer has no proof", () =>
    Effect.gen(function*() {
      yield* begin(path)
      ;(yield* Peers).strangers.add("n2")
      assertBytes((yield* get(path, { headers: range })).bytes, expected)
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-99999", "n3 bytes=0-99999"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("is lost when it refuses connections, and used again when it answers", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      const fleet = yield* Fleet
      origin.behaviour = once("n2", { _tag: "Refuse" })
      const { bytes, hasLostPeer } = yield* get(path, { headers: range })
      assertBytes(bytes, expected)
      assert.isTrue(hasLostPeer)
      assert.deepStrictEqual(fleet.peers().map(({ state }) => state), ["Lost", "Here"])
      assert.strictEqual(fleet.rank(`http://origin.test${path}`, 0)[0]!.name, "n3")
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(fleet.peers().map(({ state }) => state), ["Here", "Here"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect.each<[string, Misbehaviour | undefined]>([
    ["sends no header", undefined],
    ["stops in the middle of the body", { _tag: "Stall", after: 40_000 }]
  ])("is lost when it %s, and doesn't say either that it is there", ([, misbehaviour]) =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      const peers = yield* Peers
      const fleet = yield* Fleet
      if (misbehaviour === undefined) peers.silent.add("n2")
      else {
        origin.behaviour = once("n2", misbehaviour)
        origin.struck = () => peers.silent.add("n2")
      }
      const viewer = yield* Effect.forkChild(get(path, { headers: range }), { startImmediately: true })
      while (!peers.silent.has("n2")) yield* TestClock.adjust(0)
      yield* TestClock.adjust("2400 millis")
      assert.isUndefined(viewer.pollUnsafe())
      yield* TestClock.adjust("200 millis")
      assertBytes((yield* Fiber.join(viewer)).bytes, expected)
      assert.deepStrictEqual(fleet.peers().map(({ state }) => state), ["Lost", "Here"])
      // The next one doesn't wait.
      assertBytes((yield* get(path, { headers: range })).bytes, expected)
    }).pipe(Effect.provide(fleetOf())))

  it.effect.each<[string, Misbehaviour, number]>([
    ["dies: 500 ms", { _tag: "Reset", after: 40_000 }, 500],
    ["hangs: 3.5 s", { _tag: "Stall", after: 40_000 }, 3500]
  ])(
    "keeps a viewer without a byte for at most so long when it %s",
    ([what, misbehaviour, most]) =>
      Effect.gen(function*() {
        const origin = yield* begin(path)
        const peers = yield* Peers
        const clock = yield* Clock.Clock
        // A round trip to another node or the origin.
        origin.latency = () => 20
        origin.behaviour = once("n2", misbehaviour)
        origin.struck = () => misbehaviour._tag === "Stall" && peers.silent.add("n2")
        const times: Array<number> = []
        const viewer = Effect.scoped(Effect.gen(function*() {
          const { request } = yield* Origin
          const url = `http://origin.test${path}`
          const { body } = yield* request({ method: "GET", url, headers: range, peers: questionOf(path) })
          yield* Stream.runForEach(body, () => Effect.sync(() => times.push(clock.currentTimeMillisUnsafe())))
        }))
        const fiber = yield* Effect.forkChild(viewer, { startImmediately: true })
        for (let millis = 0; millis < 5000; millis += 10) yield* TestClock.adjust("10 millis")
        yield* Fiber.join(fiber)
        const gap = Math.max(...times.slice(1).map((time, i) => time - times[i]!))
        process.stderr.write(`a viewer of a node that ${what.split(":")[0]} waits ${gap} ms\n`)
        assert.isAtMost(gap, most)
        assert.deepStrictEqual((yield* requests).slice(0, 2), ["n2 bytes=0-99999", "n3 bytes=40000-99999"])
      }).pipe(Effect.provide(fleetOf()))
  )

  it.effect("is waited for while it answers, because its origin may be slow", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.latency = () => 5000
      const { bytes } = yield* inTime(get(path, { headers: { range: "bytes=0-9" } }), 20)
      assertBytes(bytes, file.subarray(0, 10))
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-9"])
      assert.isNotEmpty((yield* Peers).questions)
    }).pipe(Effect.provide(fleetOf())))

  it.effect("is asked once for all who wait for it", () =>
    Effect.gen(function*() {
      yield* begin(path)
      const peers = yield* Peers
      peers.silent.add("n2")
      const viewers = yield* Effect.forEach(
        [1, 2, 3, 4, 5],
        () => Effect.forkChild(get(path, { headers: range }), { startImmediately: true })
      )
      yield* TestClock.adjust("2600 millis")
      for (const viewer of viewers) assertBytes((yield* Fiber.join(viewer)).bytes, expected)
      assert.deepStrictEqual(peers.questions, ["n2", "n2"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("costs nothing any more when its viewer leaves", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = () => ({ _tag: "Stall", after: 40_000 })
      const viewer = yield* Effect.forkChild(get(path, { headers: range }), { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(origin.open, 1)
      yield* Fiber.interrupt(viewer)
      assert.strictEqual(origin.open, 0)
    }).pipe(Effect.provide(fleetOf())))
})

describe("a node with another version", () => {
  const path = pathWith("n2,n3,n1")
  const other = randomBytes(file.length, 7)

  it.effect("is passed over for a leg", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.files.set(`http://n3.peer${path}`, { bytes: other, etag: "\"0\"" })
      assertBytes((yield* get(path)).bytes, file)
    }).pipe(Effect.provide(fleetOf())))

  it.effect("is passed over for a range of a known version", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.files.set(`http://n2.peer${path}`, { bytes: other, etag: "\"0\"" })
      const asked = { headers: { range: "bytes=0-9" }, peers: { validator: "\"1\"" } }
      assertBytes((yield* get(path, asked)).bytes, file.subarray(0, 10))
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-9", "n3 bytes=0-9"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("breaks the body off when the origin has that version too, and is asked to revalidate then", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      for (const host of ["origin.test", "n3.peer"]) {
        origin.files.set(`http://${host}${path}`, { bytes: other, etag: "\"2\"" })
      }
      const exit: Exit.Exit<unknown, OriginError> = yield* Effect.exit(get(path))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(JSON.stringify(exit), "OriginBodyFailed")
      origin.requests.length = 0
      yield* Effect.exit(get(path, { headers: { range: "bytes=0-9" } }))
      assert.strictEqual(origin.requests[0]!.headers["cache-control"], "no-cache")
      yield* TestClock.adjust("61 seconds")
      yield* Effect.exit(get(path, { headers: { range: "bytes=0-9" } }))
      assert.isUndefined(origin.requests.at(-1)!.headers["cache-control"])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("isn't mixed with others when nothing shows the version", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      for (const host of ["origin.test", "n2.peer", "n3.peer"]) {
        origin.files.set(`http://${host}${path}`, { bytes: file })
      }
      assertBytes((yield* get(path)).bytes, file)
      assert.deepStrictEqual((yield* requests).slice(1), ["origin all"])
    }).pipe(Effect.provide(fleetOf())))
})

describe("a list of nodes that has changed", () => {
  const path = pathWith("n1,n2,n3")

  it.effect("has the owner ask the second in rank for what that has, and the origin for the rest", () =>
    Effect.gen(function*() {
      const origin = yield* begin(path)
      origin.behaviour = (request, index) =>
        isFrom("n2")(request) && index > 0 ? { _tag: "Status", status: 504 } : undefined
      origin.files.set(`http://n2.peer${path}`, { bytes: file, etag: "\"1\"" })
      const first = yield* get(path, { headers: { range: "bytes=0-99999" } })
      assertBytes(first.bytes, file.subarray(0, 100_000))
      assert.strictEqual(origin.requests[0]!.headers["wants"], "cached")
      const second = yield* get(path, { headers: { range: "bytes=100000-199999" } })
      assertBytes(second.bytes, file.subarray(100_000, 200_000))
      assert.deepStrictEqual(yield* requests, [
        "n2 bytes=0-99999",
        "n2 bytes=100000-199999",
        "origin bytes=100000-199999"
      ])
    }).pipe(Effect.provide(fleetOf({ settle: 3_600_000 }))))

  it.effect("has the owner do so for other nodes too, but not ask the one that asks it", () =>
    Effect.gen(function*() {
      yield* begin(path)
      yield* get(path, { headers: { range: "bytes=0-9" }, peers: { from: "n3" } })
      yield* get(path, { headers: { range: "bytes=0-9" }, peers: { from: "n2" } })
      assert.deepStrictEqual(yield* requests, ["n2 bytes=0-9", "origin bytes=0-9"])
    }).pipe(Effect.provide(fleetOf({ settle: 3_600_000 }))))

  it.effect("has settled after a while", () =>
    Effect.gen(function*() {
      yield* begin(path)
      yield* TestClock.adjust("10 seconds")
      yield* get(path, { headers: { range: "bytes=0-9" } })
      assert.deepStrictEqual(yield* requests, ["origin bytes=0-9"])
    }).pipe(Effect.provide(fleetOf({ settle: 10_000 }))))
})

describe("a body from several nodes", () => {
  const offset = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: file.length }))

  it.effect.prop("has each byte once and in its place, wherever nodes break off", {
    start: offset,
    breaks: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 * STRETCH }))),
    name: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 }))
  }, ({ breaks, name, start }) =>
    Effect.gen(function*() {
      const path = `/prop${name}`
      const origin = yield* begin(path)
      const left = [...breaks]
      origin.behaviour = (request) => {
        const after = isFrom("origin")(request) ? undefined : left.shift()
        return after === undefined ? undefined : { _tag: "Reset", after }
      }
      const at = Math.min(start, file.length - 1)
      const { bytes } = yield* get(path, { headers: { range: `bytes=${at}-` } })
      assertBytes(bytes, file.subarray(at))
    }).pipe(Effect.provide(fleetOf())), { arbitrary: { runs: 60 } })
})

describe("a node that is alone", () => {
  it.effect("uses the origin itself, and nothing of a fleet", () =>
    Effect.gen(function*() {
      const before = yield* Origin
      const alone = yield* Effect.provide(Origin, Layer.provide(fleetOrigin.layer, Layer.succeed(Origin, before)))
      assert.strictEqual(alone, before)
      assert.isUndefined((yield* Fleet).self)
    }).pipe(Effect.provide(Layer.mergeAll(TestOriginLayer.layer, CacheConfig.layer(), OriginConfig.layer()))))
})
