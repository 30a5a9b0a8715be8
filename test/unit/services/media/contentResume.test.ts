import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, ticking, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const url = "http://origin.test/film"
const bytes = randomBytes(3 * CHUNK)

/** An origin without validators, each of whose responses ends after so many bytes. The last one applies from then on. */
const startTruncating = (...lengths: ReadonlyArray<number>) =>
  Effect.map(MemoryOrigin, (origin) => {
    origin.files.set(url, { bytes, headers: { "cache-control": "public, max-age=60" } })
    origin.behaviour = (_, index) => ({ _tag: "Truncate", after: lengths[Math.min(index, lengths.length - 1)]! })
    return origin
  })

const inMemory = Effect.provide(stack("memory"))

describe("a body without a validator that ends early", () => {
  it.effect("is resumed until it is complete", () =>
    Effect.gen(function*() {
      const origin = yield* startTruncating(CHUNK + 10, 2 * CHUNK, 3 * CHUNK)
      const viewed = yield* ticking(view(url))
      assert.isTrue(Buffer.from(viewed.bytes).equals(bytes))
      assert.lengthOf(origin.requests, 3)
    }).pipe(inMemory))

  it.effect("is cut after three retries without progress", () =>
    Effect.gen(function*() {
      const origin = yield* startTruncating(CHUNK + 10)
      const error = yield* Effect.flip(ticking(view(url)))
      assert.strictEqual((error as { readonly _tag: string })._tag, "OriginBodyFailed")
      assert.lengthOf(origin.requests, 4)
    }).pipe(inMemory))
})
