import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { Spillway } from "spillway"
import { FaultyFileSystem, MemoryOrigin, TestSpillway } from "spillway/testing"

/** A service of an application: what the first bytes of a file say that it is. It knows nothing of tests. */
class Sniffer extends Context.Service<Sniffer, {
  readonly kindOf: (url: string) => Effect.Effect<"mp4" | "other", string>
}>()("spillway/examples/yourApplication.test/Sniffer") {
  static readonly layer = Layer.effect(
    Sniffer,
    Effect.map(Spillway, ({ open }) => ({
      kindOf: (url) =>
        Effect.gen(function*() {
          const { stream } = yield* open(url, { range: { start: 4, end: 8 } })
          const bytes = yield* Stream.mkUint8Array(stream)
          return new TextDecoder().decode(bytes) === "ftyp" ? "mp4" as const : "other" as const
        }).pipe(
          Effect.scoped,
          Effect.mapError((error) => error._tag)
        )
    }))
  )
}

const FILM = "https://media.example.org/film.mp4"

const film = {
  bytes: new TextEncoder().encode("\0\0\0\x18ftypmp42"),
  etag: "\"1\"",
  headers: { "cache-control": "max-age=60" }
}

// The real service, over Spillway, over a disk and an origin in memory.
const Test = Layer.provideMerge(Sniffer.layer, TestSpillway.layer())

it.layer(Test)("the sniffer", (it) => {
  it.effect("asks the origin once", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin.MemoryOrigin
      const sniffer = yield* Sniffer
      origin.files.set(FILM, film)
      assert.strictEqual(yield* sniffer.kindOf(FILM), "mp4")
      assert.strictEqual(yield* sniffer.kindOf(FILM), "mp4")
      assert.strictEqual(origin.requests.length, 1)
    }))

  it.effect("tells why there are no bytes", () =>
    Effect.gen(function*() {
      const sniffer = yield* Sniffer
      assert.strictEqual(yield* Effect.flip(sniffer.kindOf("https://media.example.org/lost")), "OriginUnexpected")
      assert.strictEqual(yield* Effect.flip(sniffer.kindOf("lost")), "MediaRefused")
    }))

  it.effect("notices nothing of a disk that dies", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin.MemoryOrigin
      const faults = yield* FaultyFileSystem.Faults
      const sniffer = yield* Sniffer
      // The film is written to the disk behind its viewer's back.
      yield* TestSpillway.idle
      const before = origin.requests.length
      yield* faults.add({ operation: "open", fault: "EIO" })
      yield* faults.add({ operation: "read", fault: "EIO" })
      assert.strictEqual(yield* sniffer.kindOf(FILM), "mp4")
      // The cache has the film, and cannot read it.
      assert.strictEqual(origin.requests.length, before + 1)
    }))
})
