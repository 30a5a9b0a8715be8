import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import { Effect } from "effect"
import { ChunkMap } from "../../src/domain/ChunkMap.ts"
import { ChunkTable } from "../../src/domain/ChunkTable.ts"
import { make } from "../../src/domain/Resource.ts"
import { noCache } from "../../src/domain/rfc/CacheControl.ts"
import { UNCODED } from "../../src/domain/rfc/ContentCoding.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { Lookup } from "../../src/services/media/Lookup.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { stack, view } from "../support/stack.ts"
import { randomBytes } from "../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4"
const resource = make(url)
const CHUNK = 512
const CHUNKS = 2000
const film = randomBytes(CHUNKS * CHUNK)

/** Returns the file's entry, which is fresh. */
const knownFresh = Effect.map(
  Lookup,
  (lookup) => () => lookup.fresh({ resource, accepted: UNCODED, directives: undefined }, {})!
)

/** The file is cached; a few of its chunks are in memory as well. */
const fill = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  yield* view(url)
  yield* (yield* ChunkWriter).idle
})

/** How many times any map or table of chunks is asked while `effect` runs. */
const lookUps = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const spies = [
      vi.spyOn(ChunkMap.prototype, "get"),
      vi.spyOn(ChunkMap.prototype, "firstMissing"),
      vi.spyOn(ChunkTable.prototype, "find"),
      vi.spyOn(ChunkTable.prototype, "firstMissing")
    ]
    const result = yield* effect
    const count = spies.reduce((sum, { mock }) => sum + mock.calls.length, 0)
    vi.restoreAllMocks()
    return [count, result] as const
  })

/** What one request may ask, however long the file is. */
const FEW = 30

describe("a request for a file of 2000 cached chunks", () => {
  afterEach(() => void vi.restoreAllMocks())

  const live = stack("memory", { chunkSize: CHUNK, memory: 20 * CHUNK })

  const ranges = [
    ["everything", undefined],
    ["an open-ended range", [{ _tag: "From", start: 5, last: undefined }]],
    ["the end", [{ _tag: "Suffix", length: film.length - 3 }]],
    ["several long ranges", [{ _tag: "From", start: 0, last: 300_000 }, {
      _tag: "From",
      start: 500_000,
      last: undefined
    }]]
  ] as const

  it.effect.each(ranges)("looks up few of them when it opens %s", ([, wanted]) =>
    Effect.gen(function*() {
      yield* fill
      const media = yield* MediaStream
      const [count, opened] = yield* lookUps(media.open({ resource, ranges: wanted }))
      assert.deepInclude(opened, { _tag: "Media" })
      assert.deepInclude(opened._tag === "Media" ? opened.status : {}, { hit: true })
      assert.isBelow(count, FEW)
    }).pipe(Effect.provide(live)))

  it.effect("looks up few of them for the head, and to know whether all are cached", () =>
    Effect.gen(function*() {
      yield* fill
      const media = yield* MediaStream
      const known = yield* knownFresh
      const [ofHead, head] = yield* lookUps(media.head({ resource }))
      assert.deepInclude(head._tag === "Media" ? head.status : {}, { hit: true })
      assert.isBelow(ofHead, FEW)
      const [ofHand, isCached] = yield* lookUps(Effect.sync(() => media.isCached({ resource, fresh: known() })))
      assert.isTrue(isCached)
      assert.isBelow(ofHand, FEW)
      const directives = { ...noCache, noCache: false, onlyIfCached: true }
      const [ofCached, cached] = yield* lookUps(media.open({ resource, directives }))
      assert.strictEqual(cached._tag, "Media")
      assert.isBelow(ofCached, FEW)
    }).pipe(Effect.provide(live)))

  it.effect("looks up few of them to read a short range from disk", () =>
    Effect.gen(function*() {
      yield* fill
      const media = yield* MediaStream
      const known = yield* knownFresh
      const start = CHUNKS / 2 * CHUNK - 10
      const [count, pieces] = yield* lookUps(Effect.callback<ReadonlyArray<Uint8Array>>((resume) => {
        const hit = media.tryHit({ resource, fresh: known(), ranges: [{ _tag: "From", start, last: start + 19 }] })
        if (hit === undefined || !("begin" in hit.body)) return assert.fail("not on disk")
        hit.body.begin((pieces) => resume(Effect.succeed(pieces ?? [])))
      }))
      assert.deepStrictEqual(Buffer.concat(pieces), film.subarray(start, start + 20))
      assert.isBelow(count, FEW)
    }).pipe(Effect.provide(live)))

  it.effect("differs from a request for a file with a hole, wherever it is", () =>
    Effect.gen(function*() {
      yield* fill
      const media = yield* MediaStream
      const known = yield* knownFresh
      const index = yield* CacheIndex
      for (const hole of [1234, 0, 1000]) {
        const { key } = index.chunksOf(resource.id).find(({ key }) => key.index === hole)!
        if (hole === 1000) index.condemn(key)
        else index.remove(key)
        assert.isFalse(media.isCached({ resource, fresh: known() }))
        const beside = { _tag: "From", start: (hole + 1) * CHUNK, last: (hole + 2) * CHUNK - 1 } as const
        assert.isTrue(media.isCached({ resource, ranges: [beside], fresh: known() }))
        index.add(key, CHUNK)
        assert.isTrue(media.isCached({ resource, fresh: known() }))
      }
    }).pipe(Effect.provide(stack("memory", { chunkSize: CHUNK }))))
})
