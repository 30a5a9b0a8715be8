import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { noCache } from "../../../../src/domain/rfc/CacheControl.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { Catalog } from "../../../../src/services/cache/Catalog.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { Manifests } from "../../../../src/services/cache/Manifests.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { Lookup } from "../../../../src/services/media/Lookup.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import { Purger } from "../../../../src/services/operate/Purger.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, EVERYTHING, purge, restartable, stack, view, World } from "../../../support/stack.ts"
import { randomBytes, sha256 } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

const url = "http://origin.test/film"
const resource = makeResource(url)
const film = randomBytes(2 * CHUNK)
const other = randomBytes(2 * CHUNK, 2)

const put = (bytes: Uint8Array, etag: string, headers: Record<string, string> = { "cache-control": "max-age=3600" }) =>
  Effect.map(MemoryOrigin, (origin) => void origin.files.set(url, { bytes, etag, headers }))

const written = Effect.andThen(ticking(ChunkWriter.use((_) => _.idle)), ticking(Manifests.use((_) => _.settled)))

/** Has the film on disk, fresh for an hour. */
const cached = Effect.andThen(Effect.andThen(put(film, "\"1\""), view(url)), written)

/** What a viewer gets of the film, and whether the origin was asked for it. */
const look = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  const before = origin.requests.length
  const { bytes } = yield* ticking(view(url))
  return { bytes: sha256(bytes), asked: origin.requests.length > before }
})

/** Asks the origin what the film is now, and takes no byte of it. */
const revalidate = Effect.gen(function*() {
  const media = yield* MediaStream
  yield* ticking(Effect.scoped(media.open({ resource, directives: noCache })))
})

/** Has memory know nothing of the film any more, as when many others have been asked for since. */
const forgotten = Effect.gen(function*() {
  ;(yield* Catalog).forget(resource.id)
  // Forgets what is uncacheable, too.
  yield* (yield* Lookup).ban({ _tag: "Url", url: "http://origin.test/another" })
})

/** What one process does. */
const process = <A, E, R extends Layer.Success<ReturnType<typeof restartable>> | Layer.Success<typeof World>>(
  effect: Effect.Effect<A, E, R>
) => Effect.provide(effect, restartable())

const fileOfManifest = `/cache/v1/${resource.id.slice(0, 2)}/${resource.id}/manifest.json`

describe("a manifest on disk", () => {
  it.effect("is written without a look for an old one if nothing of the file is on disk", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* ticking(IndexScan.use((_) => _.loaded))
      yield* faults.add({ operation: "unlink", fault: "EIO" })
      yield* cached
      assert.deepStrictEqual(faults.strikes(), [0])
      assert.isTrue(Option.isSome(yield* ChunkStore.use(({ readManifest }) => readManifest(resource.id))))
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("is believed after a restart", () =>
    Effect.gen(function*() {
      yield* process(cached)
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(film), asked: false })
    }).pipe(Effect.provide(World)))

  const gone = Effect.map(MemoryOrigin, (origin) => {
    origin.behaviour = ({ method }) => method === "GET" ? { _tag: "Status", status: 410 } : undefined
  })
  const ends: ReadonlyArray<
    readonly [
      string,
      Effect.Effect<unknown, unknown, Catalog | Lookup | Manifests | MediaStream | MemoryOrigin | ChunkWriter>
    ]
  > = [
    ["was invalidated by a request of another method", Lookup.use((_) => _.invalidate(resource))],
    [
      "turned out to be out of date in a transfer",
      Effect.gen(function*() {
        const catalog = yield* Catalog
        catalog.expire(Option.getOrThrow(yield* catalog.get(resource)).representation)
      })
    ],
    ["is gone at the origin", Effect.andThen(gone, revalidate)],
    [
      "may no longer be kept",
      Effect.andThen(put(film, "\"1\"", { "cache-control": "no-store" }), revalidate)
    ],
    [
      "may no longer be shared, in another version",
      Effect.andThen(put(other, "\"2\"", { "cache-control": "private" }), revalidate)
    ],
    ["is of a version before the one that the origin named last", Effect.andThen(put(other, "\"2\""), revalidate)],
    [
      "is fresh for longer than the origin said last",
      Effect.gen(function*() {
        yield* put(film, "\"1\"", { "cache-control": "max-age=5" })
        yield* revalidate
        yield* written
        yield* TestClock.adjust("10 seconds")
      })
    ]
  ]

  it.effect.each(ends)("is not believed after a restart when it %s", ([, end]) =>
    Effect.gen(function*() {
      yield* process(Effect.andThen(cached, Effect.andThen(end, written)))
      const origin = yield* MemoryOrigin
      origin.behaviour = undefined
      yield* put(other, "\"3\"")
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(other), asked: true })
    }).pipe(Effect.provide(World)))

  it.effect.each(ends)(
    "is not believed when it %s, and memory has forgotten that",
    ([, end]) =>
      Effect.gen(function*() {
        yield* cached
        yield* end
        yield* forgotten
        const origin = yield* MemoryOrigin
        origin.behaviour = undefined
        yield* put(other, "\"3\"")
        assert.deepStrictEqual(yield* look, { bytes: sha256(other), asked: true })
      }).pipe(Effect.provide(stack("faulty")))
  )

  it.effect("is written again when the origin confirms what was invalidated, without a byte of the file", () =>
    Effect.gen(function*() {
      yield* process(Effect.gen(function*() {
        yield* cached
        yield* Lookup.use((_) => _.invalidate(resource))
        yield* written
        const disk = yield* MemoryDisk
        assert.isFalse(disk.files().has(fileOfManifest))
        assert.deepStrictEqual(yield* look, { bytes: sha256(film), asked: true })
        yield* written
        assert.isTrue(disk.files().has(fileOfManifest))
      }))
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(film), asked: false })
    }).pipe(Effect.provide(World)))

  it.effect("is written again after a restart, when the origin names the version whose chunks are there", () =>
    Effect.gen(function*() {
      yield* process(Effect.andThen(cached, Effect.andThen(Lookup.use((_) => _.invalidate(resource)), written)))
      yield* process(Effect.gen(function*() {
        yield* ticking(IndexScan.use((_) => _.loaded))
        assert.isTrue((yield* look).asked)
        yield* written
      }))
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(film), asked: false })
    }).pipe(Effect.provide(World)))

  it.effect("that cannot be removed is not believed meanwhile, and goes when it can", () =>
    process(Effect.gen(function*() {
      yield* cached
      const faults = yield* Faults
      const disk = yield* MemoryDisk
      yield* faults.add({ operation: "rename", fault: "EACCES" })
      yield* faults.add({ operation: "unlink", fault: "EACCES", path: (path) => path.endsWith("manifest.json") })
      yield* Lookup.use((_) => _.invalidate(resource)).pipe(ticking)
      yield* forgotten
      assert.isTrue(disk.files().has(fileOfManifest))
      assert.isFalse((yield* Manifests).isTrusted(resource.id))
      yield* faults.clear
      yield* ticking(Effect.sleep("3 seconds"))
      assert.isFalse(disk.files().has(fileOfManifest))
      assert.isTrue((yield* Manifests).isTrusted(resource.id))
    })).pipe(Effect.provide(World)))

  it.effect("that holds no longer still tells which resource to purge, and what is pinned, after a restart", () =>
    Effect.gen(function*() {
      yield* process(Effect.gen(function*() {
        yield* cached
        yield* ticking(Purger.use((_) => _.pin(url, true)))
        yield* Lookup.use((_) => _.invalidate(resource))
        yield* written
      }))
      yield* process(Effect.gen(function*() {
        const index = yield* CacheIndex
        yield* ticking(IndexScan.use((_) => _.loaded))
        assert.isUndefined(index.oldest())
        assert.strictEqual((yield* purge({ _tag: "Url", url })).resources, 1)
        assert.isFalse(index.isPinned(resource.id))
        assert.strictEqual(index.bytes(), 0)
      }))
    }).pipe(Effect.provide(World)))

  it.effect("that is lost does not keep a resource from being purged", () =>
    Effect.gen(function*() {
      yield* process(Effect.gen(function*() {
        yield* cached
        yield* ticking(Purger.use((_) => _.pin(url, true)))
      }))
      const disk = yield* MemoryDisk
      disk.erase(fileOfManifest)
      yield* process(Effect.gen(function*() {
        const index = yield* CacheIndex
        yield* ticking(IndexScan.use((_) => _.loaded))
        yield* purge({ _tag: "Url", url })
        assert.isFalse(index.isPinned(resource.id))
        assert.strictEqual(index.bytes(), 0)
      }))
    }).pipe(Effect.provide(World)))

  it.effect("is believed no more at all when too many cannot be removed", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const index = yield* CacheIndex
      const manifests = yield* Manifests
      yield* faults.add({ operation: "rename", fault: "EROFS" })
      yield* faults.add({ operation: "unlink", fault: "EROFS" })
      yield* ticking(IndexScan.use((_) => _.loaded))
      for (let i = 0; i <= 10_000; i++) {
        const { id } = makeResource(`http://origin.test/${i}`)
        index.add({ resource: id, representation: id, index: 0 }, 4096)
        assert.isTrue(manifests.isTrusted(id))
        manifests.revoke(id)
      }
      assert.isFalse(manifests.isTrusted(resource.id))
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("is not used after a purge, although a kill in the middle leaves it on disk", () =>
    Effect.gen(function*() {
      yield* process(Effect.gen(function*() {
        yield* cached
        const faults = yield* Faults
        yield* faults.add({ operation: "unlink", fault: "EIO", path: (path) => !path.endsWith("bans.json") })
        yield* ticking(Purger.use((_) => _.purge(EVERYTHING)))
        yield* ticking(Effect.sleep("3 seconds"))
        yield* faults.clear
      }))
      yield* put(other, "\"2\"")
      assert.deepStrictEqual(yield* process(look), { bytes: sha256(other), asked: true })
    }).pipe(Effect.provide(World)))
})
