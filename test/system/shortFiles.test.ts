import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { noCache } from "../../src/domain/rfc/CacheControl.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../src/services/cache/IndexScan.ts"
import { Manifests } from "../../src/services/cache/Manifests.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { Lookup } from "../../src/services/media/Lookup.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import { Purger } from "../../src/services/operate/Purger.ts"
import { MemoryDisk } from "../../src/testing/MemoryFileSystem.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, purge, restartable, stackOver, view, World } from "../support/stack.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"
import { ticking } from "../support/ticking.ts"

/** Files whose body and manifest share a file of the cache, and how they become others. */

const url = "http://origin.test/page"
const resource = makeResource(url)
const short = randomBytes(CHUNK / 2)
const otherShort = randomBytes(CHUNK / 2, 2)
const long = randomBytes(3 * CHUNK, 3)

const put = (bytes: Uint8Array, headers: Record<string, string> = { "cache-control": "max-age=3600" }) =>
  Effect.map(MemoryOrigin, (origin) => void origin.files.set(url, { bytes, etag: `"${sha256(bytes)}"`, headers }))

const written = Effect.andThen(ticking(ChunkWriter.use((_) => _.idle)), ticking(Manifests.use((_) => _.settled)))

/** What a viewer gets, and whether the origin was asked for a body. */
const look = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  const before = origin.requests.length
  const { bytes } = yield* ticking(view(url))
  yield* written
  return { bytes: sha256(bytes), asked: origin.requests.length > before }
})

/** Has the origin asked what the file is now. */
const revalidate = Effect.gen(function*() {
  const media = yield* MediaStream
  yield* ticking(Effect.scoped(media.open({ resource, directives: noCache })))
  yield* written
})

const process = <A, E, R extends Layer.Success<ReturnType<typeof restartable>> | Layer.Success<typeof World>>(
  effect: Effect.Effect<A, E, R>
) => Effect.provide(effect, restartable())

const compactFile = `/cache/v1/${resource.id.slice(0, 2)}/${resource.id}.compact`

const isCompact = Effect.map(MemoryDisk, (disk) => disk.files().has(compactFile))

/** What the index counts, and what is on the disk besides the directories of the cache and of prefixes. */
const accounting = Effect.gen(function*() {
  yield* ticking(IndexScan.use((_) => _.loaded))
  return { counted: (yield* CacheIndex).bytes(), taken: (yield* MemoryDisk).occupied() }
})

describe("a short file", () => {
  it.effect("takes one file of the cache, and is served after a restart", () =>
    Effect.gen(function*() {
      yield* put(short)
      yield* process(look)
      assert.isTrue(yield* isCompact)
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(short), asked: false })
      const { counted, taken } = yield* process(accounting)
      // The directory of its prefix.
      assert.strictEqual(counted, taken + 4096)
    }).pipe(Effect.provide(World)))

  const changes: ReadonlyArray<readonly [string, Uint8Array, Uint8Array]> = [
    ["a short one", short, otherShort],
    ["a long one", short, long],
    ["a short one after a long one", long, short]
  ]
  it.effect.each(changes)(
    "is never served for %s that replaced it, also after a restart",
    ([, before, after]) =>
      Effect.gen(function*() {
        yield* put(before)
        yield* process(look)
        yield* put(after)
        yield* process(Effect.gen(function*() {
          yield* revalidate
          assert.strictEqual((yield* look).bytes, sha256(after))
        }))
        assert.deepStrictEqual(yield* process(look), { bytes: sha256(after), asked: false })
        yield* put(before)
        yield* process(Effect.gen(function*() {
          yield* revalidate
          assert.strictEqual((yield* look).bytes, sha256(before))
        }))
        assert.deepStrictEqual(yield* process(look), { bytes: sha256(before), asked: false })
      }).pipe(Effect.provide(World))
  )

  it.effect("that was invalidated is confirmed by the origin, after a restart too, and then trusted again", () =>
    Effect.gen(function*() {
      yield* put(short)
      yield* process(Effect.gen(function*() {
        yield* look
        yield* Lookup.use((_) => _.invalidate(resource))
        yield* written
        assert.isFalse(yield* isCompact)
      }))
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(short), asked: true })
      assert.isTrue(yield* isCompact)
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(short), asked: false })
    }).pipe(Effect.provide(World)))

  it.effect("stays pinned after a restart, is counted with its pin, and can be purged", () =>
    Effect.gen(function*() {
      yield* put(short)
      yield* process(Effect.gen(function*() {
        yield* look
        const before = (yield* CacheIndex).bytes()
        yield* ticking(Purger.use((_) => _.pin(url, true)))
        assert.strictEqual((yield* CacheIndex).bytes(), before + 4096)
      }))
      yield* process(Effect.gen(function*() {
        yield* ticking(IndexScan.use((_) => _.loaded))
        const index = yield* CacheIndex
        assert.isUndefined(index.oldest())
        yield* ticking(Purger.use((_) => _.pin(url, false)))
        assert.strictEqual(index.oldest()?.resource, resource.id)
        assert.deepStrictEqual(yield* look, { bytes: sha256(short), asked: false })
        yield* purge({ _tag: "Url", url })
        assert.strictEqual(index.bytes(), 0)
        assert.isFalse(yield* isCompact)
      }))
    }).pipe(Effect.provide(World)))
})

describe("a short file in a store without compact files", () => {
  it.effect("is a chunk and a manifest, and is served after a restart", () =>
    Effect.gen(function*() {
      const { writeCompact: _, ...store } = yield* ChunkStore
      const process = stackOver(Layer.succeed(ChunkStore, store))
      yield* Effect.provide(Effect.andThen(put(short), look), process)
      const { compact, keys, manifest } = yield* store.contents(resource.id)
      assert.deepStrictEqual([compact, keys.length, manifest.bytes], [undefined, 1, 4096])
      // The origin of this one has no files.
      assert.deepStrictEqual(yield* Effect.provide(look, process), { bytes: sha256(short), asked: false })
    }).pipe(Effect.provide(ChunkStore.layerMemory)))
})
