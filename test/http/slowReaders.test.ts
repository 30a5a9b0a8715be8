import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { connect } from "node:net"
import { MiB, randomBytes } from "../support/TestOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { bytes, maxAge, type Site, start, until, withTime } from "./Site.ts"

/** More than the kernel takes for two sockets, and a run reads ahead. */
const LARGE = randomBytes(12 * MiB)

const PLACES = 2

/** A proxy whose origin takes two requests at a time, for which others wait as long as they have to. */
const begin = start({ origins: { maxRequests: PLACES, firstByteTimeout: 86_400_000 } })

interface SlowClient {
  readonly isClosed: () => boolean
  /** The rest, and all of it, when the server has sent `length` bytes or closed. */
  readonly readAll: (length: number) => Effect.Effect<Buffer>
}

/** Sends `request` as it is and reads nothing, until told to. */
const slowClient = (site: Site, request: string): Effect.Effect<SlowClient, never, Scope.Scope> =>
  Effect.gen(function*() {
    const socket = connect({ port: site.port, host: "127.0.0.1" })
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
    const pieces: Array<Buffer> = []
    let length = 0
    let closed = false
    socket.on("error", () => {})
    socket.on("close", () => closed = true)
    socket.pause()
    socket.write(request)
    return {
      isClosed: () => closed,
      readAll: (expected) =>
        withTime(Effect.callback((resume) => {
          const end = () => resume(Effect.succeed(Buffer.concat(pieces)))
          socket.on("data", (data) => {
            pieces.push(data)
            length += data.length
            if (length >= expected) end()
          })
          socket.on("close", end)
          socket.resume()
        }))
    }
  })

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`

const bodyOf = (answer: Buffer) => answer.subarray(answer.indexOf("\r\n\r\n") + 4)

/** Waits until the origin has got so many requests for large files. */
const held = (site: Site, count: number) => until("the slow ones", () => site.origin.requests.length === count)

/** An honest viewer gets a small file that nobody else asks for. */
const assertServed = (site: Site, path: string) =>
  Effect.gen(function*() {
    site.file(path)
    const answer = yield* withTime(site.ask(path))
    assert.strictEqual(answer.status, 200)
    assert.isTrue(answer.body.equals(bytes))
  })

describe("viewers who do not read", () => {
  it.effect("cached files do not block the origin for others, and lose nothing", () =>
    Effect.gen(function*() {
      const site = yield* begin
      for (const path of ["/a", "/b"]) site.file(path, { bytes: LARGE })
      const slow = [yield* slowClient(site, get("/a")), yield* slowClient(site, get("/b"))]
      yield* held(site, 2)
      yield* assertServed(site, "/honest")
      yield* assertServed(site, "/honest-too")
      for (const client of slow) {
        assert.isFalse(client.isClosed())
        assert.isTrue(bodyOf(yield* client.readAll(LARGE.length + 100)).subarray(0, LARGE.length).equals(LARGE))
      }
    }))

  it.effect("many answers on one connection do not block the origin for others", () =>
    Effect.gen(function*() {
      const site = yield* begin
      const paths = Array.from({ length: 8 }, (_, i) => `/${i}`)
      for (const path of paths) site.file(path, { bytes: LARGE })
      yield* slowClient(site, paths.map(get).join(""))
      yield* withTime(held(site, 8))
      yield* assertServed(site, "/honest")
    }))

  it.effect("several ranges do not block the origin for others", () =>
    Effect.gen(function*() {
      const site = yield* begin
      for (const path of ["/a", "/b"]) site.file(path, { bytes: LARGE })
      const ranges = `Range: bytes=0-${10 * MiB},${11 * MiB}-`
      for (const path of ["/a", "/b"]) {
        yield* slowClient(site, `GET ${path} HTTP/1.1\r\nHost: a\r\n${ranges}\r\n\r\n`)
      }
      yield* held(site, 2)
      yield* assertServed(site, "/honest")
    }))

  it.effect("a file whose origin has no ranges give way after ten seconds, and get all of it later", () =>
    Effect.gen(function*() {
      const site = yield* begin
      for (const path of ["/a", "/b"]) {
        site.file(path, { bytes: LARGE, ranges: false, headers: { ...maxAge(60), "accept-ranges": "none" } })
      }
      const slow = [yield* slowClient(site, get("/a")), yield* slowClient(site, get("/b"))]
      yield* held(site, 2)
      yield* assertServed(site, "/honest")
      for (const client of slow) {
        assert.isTrue(bodyOf(yield* client.readAll(LARGE.length + 100)).subarray(0, LARGE.length).equals(LARGE))
      }
    }))

  it.effect("uncached files are cut, as many as needed, when others have waited for ten seconds", () =>
    Effect.gen(function*() {
      const site = yield* begin
      for (const path of ["/a", "/b"]) site.file(path, { bytes: LARGE, headers: { "cache-control": "no-store" } })
      const slow = [yield* slowClient(site, get("/a")), yield* slowClient(site, get("/b"))]
      yield* held(site, 2)
      yield* assertServed(site, "/honest")
      const received = yield* Effect.forEach(slow, (client) => client.readAll(LARGE.length + 100))
      assert.lengthOf(received.filter((answer) => bodyOf(answer).length >= LARGE.length), 1)
    }))

  it.effect("and owe a request body give way too, and get an answer", () =>
    Effect.gen(function*() {
      const site = yield* begin
      site.origin.handlers.set("/form", (request, response) => {
        request.resume().on("end", () => response.end("thanks"))
      })
      const slow = [yield* openRaw(site.port), yield* openRaw(site.port)]
      for (const { send } of slow) send("POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
      yield* held(site, 2)
      yield* assertServed(site, "/honest")
      yield* until("an answer", () => slow.some(({ received }) => received() !== ""))
      assert.lengthOf(slow.filter(({ received }) => received() === ""), 1)
      assert.isTrue(slow.some(({ received }) => received().startsWith("HTTP/1.1 408 ")))
    }))
})
