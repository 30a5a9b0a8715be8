import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { make } from "../../../../src/domain/Resource.ts"
import { requestDirectives } from "../../../../src/domain/rfc/CacheControl.ts"
import { UNCODED } from "../../../../src/domain/rfc/ContentCoding.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { Lookup, type LookupRequest } from "../../../../src/services/media/Lookup.ts"
import type { LookupResult } from "../../../../src/services/media/LookupResult.ts"
import { plainSource } from "../../../../src/services/origin/askOrigin.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, ticking, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const film = make("http://origin.test/film")
const bytes = randomBytes(2 * CHUNK)
const fresh = { "cache-control": "public, max-age=60" }

const request = (some: Partial<LookupRequest> = {}): LookupRequest => ({
  resource: film,
  wanted: undefined,
  source: plainSource(film),
  directives: undefined,
  accepted: UNCODED,
  ...some
})

const find = (some?: Partial<LookupRequest>) => Effect.flatMap(Lookup, (lookup) => lookup.find(request(some)))

/** A result in a few words. */
const inShort = (found: LookupResult): string => {
  switch (found._tag) {
    case "Current":
      return `Current ${found.entry.representation.status ?? ""} ${found.means} ${found.asked?.reason ?? ""}`
        .replaceAll("  ", " ").trim()
    case "Uncacheable":
      return `Uncacheable ${found.reason}`
    case "NotCached":
      return "NotCached"
  }
}

/** Puts the film at the origin and into the cache. */
const fill = (validators: { readonly etag?: string } = { etag: "\"1\"" }) =>
  Effect.gen(function*() {
    const origin = yield* MemoryOrigin
    origin.files.set(film.url, { bytes, headers: fresh, ...validators })
    yield* view(film.url)
    yield* (yield* ChunkWriter).idle
    return origin
  })

const inMemory = Effect.provide(stack("memory"))

describe("Lookup.find", () => {
  it.effect("finds a fresh representation without the origin", () =>
    Effect.gen(function*() {
      const origin = yield* fill()
      assert.strictEqual(inShort(yield* find()), "Current fresh")
      assert.lengthOf(origin.requests, 1)
    }).pipe(inMemory))

  it.effect("revalidates a stale representation, conditionally if its bytes are at hand", () =>
    Effect.gen(function*() {
      const origin = yield* fill()
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(inShort(yield* find()), "Current validated stale")
      assert.strictEqual(origin.requests[1]?.headers["if-none-match"], "\"1\"")
      assert.strictEqual(inShort(yield* find()), "Current fresh")
    }).pipe(inMemory))

  it.effect("serves a stale representation if the origin can't be reached", () =>
    Effect.gen(function*() {
      const origin = yield* fill()
      yield* TestClock.adjust("61 seconds")
      origin.behaviour = () => ({ _tag: "Refuse" })
      assert.strictEqual(inShort(yield* find()), "Current stale stale")
    }).pipe(inMemory))

  it.effect("uses the stored representation no more after a 404", () =>
    Effect.gen(function*() {
      const origin = yield* fill()
      yield* TestClock.adjust("61 seconds")
      origin.files.delete(film.url)
      assert.strictEqual(inShort(yield* find()), "Current 404 fetched stale")
      origin.behaviour = () => ({ _tag: "Refuse" })
      assert.strictEqual((yield* Effect.flip(ticking(find())))._tag, "OriginUnreachable")
    }).pipe(inMemory))

  it.effect("asks the origin once for requests at the same time", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(film.url, { bytes, etag: "\"1\"", headers: fresh })
      const found = yield* Effect.all([find(), find(), find()], { concurrency: "unbounded" })
      assert.deepStrictEqual(found.map(inShort), Array.from({ length: 3 }, () => "Current fetched uri-miss"))
      assert.deepStrictEqual(found.map((one) => one._tag === "Current" && one.collapsed === true), [false, true, true])
      assert.lengthOf(origin.requests, 1)
    }).pipe(inMemory))

  it.effect("asks nobody if the request says only-if-cached", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      const directives = requestDirectives({ "cache-control": "only-if-cached" })
      assert.strictEqual(inShort(yield* find({ directives })), "NotCached")
      assert.lengthOf(origin.requests, 0)
    }).pipe(inMemory))

  it.effect("uses an incomplete representation without a validator only for what it has", () =>
    Effect.gen(function*() {
      const origin = yield* fill({})
      assert.strictEqual(inShort(yield* find()), "Current fresh")
      const index = yield* CacheIndex
      const { key } = index.chunksOf(film.id).find(({ key }) => key.index === 1)!
      index.remove(key)
      const first = { _tag: "From", start: 0, last: 9 } as const
      const last = { _tag: "From", start: CHUNK, last: CHUNK + 9 } as const
      assert.strictEqual(inShort(yield* find({ wanted: first, ranges: [first] })), "Current fresh")
      for (const request of [{ ranges: [first, last] }, { ranges: [first], ifRange: "\"other\"" }]) {
        const fresh = (yield* Lookup).fresh(
          { resource: film, accepted: UNCODED, directives: undefined, ...request },
          {}
        )
        assert.isUndefined(fresh, JSON.stringify(request))
      }
      assert.strictEqual(inShort(yield* find()), "Current fetched partial")
      assert.lengthOf(origin.requests, 2)
    }).pipe(inMemory))

  it.effect("reports why a response is uncacheable, and remembers it", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(film.url, { bytes, etag: "\"1\"", headers: { "cache-control": "private" } })
      assert.strictEqual(inShort(yield* find()), "Uncacheable PRIVATE")
      assert.strictEqual(inShort(yield* find()), "Uncacheable PRIVATE")
      assert.lengthOf(origin.requests, 1)
    }).pipe(inMemory))
})

describe("Lookup.invalidate", () => {
  it.effect("makes the next request ask the origin", () =>
    Effect.gen(function*() {
      yield* fill()
      yield* (yield* Lookup).invalidate(film)
      assert.strictEqual(inShort(yield* find()), "Current validated stale")
    }).pipe(inMemory))
})
