import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { openRaw } from "../http/RawConnection.ts"
import { ask } from "../http/TestProxy.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, openView, startProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

describe("whether the program is ready", () => {
  it.live("it is with a cache that cannot be used", () =>
    Effect.gen(function*() {
      const program = yield* startProgram(["http://127.0.0.1:9", "--cache-dir", "/proc/none"])
      const { body, status } = yield* ask(program.url, "/_spillway/ready")
      assert.deepStrictEqual([status, JSON.parse(body.toString())], [200, { status: "ready" }])
    }))

  it.live("it is not while it ends, and what is running comes to its end", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(64 * MiB, 1)
      origin.files.set("/film", film)
      const directory = yield* temporaryDirectory
      const program = yield* startProgram([origin.url, "--cache-dir", directory, "--min-free", "0"])
      const { port } = new URL(program.url)
      const running = yield* openView(`${program.url}/film`)
      yield* running.readTo(1000)
      // Whoever is in the middle of asking gets an answer yet.
      const asking = yield* openRaw(Number(port))
      asking.send("GET /_spillway/ready HTTP/1.1\r\nHost: localhost\r\n")
      yield* Effect.sleep("200 millis")
      const stopped = yield* Effect.forkChild(program.stop())
      yield* eventually("nobody listening", Effect.isFailure(ask(program.url, "/_spillway/health")))
      asking.send("\r\n")
      yield* asking.until("an answer", (received) => received.includes("draining"))
      assert.match(asking.received(), /^HTTP\/1\.1 503 /)
      assert.strictEqual((yield* running.rest).size, film.bytes.length)
      yield* eventually("the end", Effect.sync(() => stopped.pollUnsafe() !== undefined))
    }))
})
