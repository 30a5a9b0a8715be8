import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Fs from "node:fs"
import { get } from "node:http"
import { join } from "node:path"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, startProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

/** Starts Spillway with one route to `origin` that has these keys. */
const startWith = Effect.fnUntraced(function*(origin: string, keys: ReadonlyArray<string>) {
  const directory = yield* temporaryDirectory
  const file = join(directory, "spillway.toml")
  const lines = [`cache-dir = "${join(directory, "cache")}"`, "min-free = 0", "max-size = \"1GiB\"", "[[route]]"]
  Fs.writeFileSync(file, [...lines, `origin = "${origin}"`, ...keys].join("\n"))
  return yield* startProgram(["--config", file])
})

/**
 * Views `url` at `rate` bytes per second at most. `longest` is the longest time from the moment at which the viewer could take bytes until it
 * got some, in milliseconds.
 */
const watch = (url: string, rate = Number.POSITIVE_INFINITY) => {
  const seen = { bytes: 0, longest: 0 }
  const pieces: Array<Buffer> = []
  const whole = Effect.callback<string, Error>((resume) => {
    const fail = (error: Error) => resume(Effect.fail(error))
    const request = get(url, { agent: false }, (response) => {
      let waiting = performance.now()
      const began = waiting
      response.on("error", fail)
      response.on("data", (piece: Buffer) => {
        const now = performance.now()
        seen.longest = Math.max(seen.longest, now - waiting)
        seen.bytes += piece.length
        pieces.push(piece)
        const ahead = (seen.bytes / rate) * 1000 - (now - began)
        waiting = performance.now()
        if (ahead < 5) return
        response.pause()
        setTimeout(() => {
          waiting = performance.now()
          response.resume()
        }, ahead)
      })
      response.on("end", () => resume(Effect.succeed(sha256(Buffer.concat(pieces)))))
    })
    request.on("error", fail)
    return Effect.sync(() => request.destroy())
  })
  return { seen, whole }
}

describe("an origin that is silent", () => {
  it.live("for 20 s in mid-body is asked again after 3 s, at the exact byte", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(8 * MiB, 1)
      origin.files.set("/film", film)
      origin.handlers.set("/film", (_, response, seen) => {
        origin.handlers.delete("/film")
        response.writeHead(200, {
          "etag": film.etag!,
          "accept-ranges": "bytes",
          "content-length": film.bytes.length,
          ...film.headers
        })
        response.write(film.bytes.subarray(0, 3 * MiB))
        seen.sent = 3 * MiB
        const stalled = setTimeout(() => response.end(film.bytes.subarray(3 * MiB)), 20_000)
        response.on("close", () => clearTimeout(stalled))
      })
      const program = yield* startWith(origin.url, [])
      const { seen, whole } = watch(`${program.url}/film`)
      assert.strictEqual(yield* whole, sha256(film.bytes))
      const [first, second, ...others] = origin.requests.filter(({ url }) => url === "/film")
      assert.lengthOf(others, 0)
      // The second one came first: the viewer didn't wait for 20 s.
      assert.isTrue(first!.aborted)
      assert.strictEqual(second!.headers.range, `bytes=${3 * MiB}-${film.bytes.length - 1}`)
      assert.isAbove(seen.longest, 2900)
    }))

  it.live("because it is down isn't noticed while the viewer has a buffer", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(112 * MiB, 2)
      origin.files.set("/film", film)
      const program = yield* startWith(origin.url, ["read-ahead = \"64MiB\""])
      const { seen, whole } = watch(`${program.url}/film`, 4 * MiB)
      const watching = yield* Effect.forkChild(whole)
      yield* eventually("a buffer", Effect.sync(() => origin.bodyBytes() >= seen.bytes + 64 * MiB))
      yield* origin.close
      const before = seen.bytes
      yield* Effect.sleep("10 seconds")
      assert.isAbove(seen.bytes, before + 16 * MiB)
      const requests = origin.requests.length
      yield* origin.listen
      yield* eventually("the origin again", Effect.sync(() => origin.requests.length > requests))
      assert.strictEqual(yield* Fiber.join(watching), sha256(film.bytes))
      // 30 ms on an idle machine. The outage is 10 s.
      assert.isBelow(seen.longest, 5000)
    }))
})
