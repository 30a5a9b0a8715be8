import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Fs from "node:fs"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { noCache } from "../../src/domain/rfc/CacheControl.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../src/services/cache/IndexScan.ts"
import { Manifests } from "../../src/services/cache/Manifests.ts"
import { CacheConfig } from "../../src/services/config/CacheConfig.ts"
import { OriginConfig } from "../../src/services/config/OriginConfig.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { DirectoryLock } from "../../src/services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../../src/services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../../src/services/disk/DiskMonitor.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import { Purger } from "../../src/services/operate/Purger.ts"
import { OriginResolver } from "../../src/services/origin/OriginResolver.ts"
import { layerNoDeps } from "../../src/spillway.ts"
import * as MemoryOrigin from "../../src/testing/MemoryOrigin.ts"
import { temporaryDirectory, tree } from "../support/disks.ts"
import { CHUNK, view } from "../support/stack.ts"

const MAX_SIZE = 1024 ** 2

/** What files and directories take of the disk below `directory`, in bytes, as `du` tells. */
const du = (directory: string): number =>
  tree(directory).reduce((sum, path) => sum + (Fs.lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512, 0)

/** One process over a real directory. */
const processOn = (directory: string) =>
  layerNoDeps.pipe(
    Layer.provideMerge(ChunkStore.layer),
    Layer.provideMerge(Layer.merge(NodeFileSystem.layer, NodePath.layer)),
    Layer.provideMerge(DirectoryLock.layerNone),
    Layer.provide([DiskLimiter.layer, Layer.provideMerge(OriginResolver.layer, OriginConfig.layer())]),
    Layer.provideMerge(
      DiskMonitor.layerUsage(Effect.succeed({ free: 1e12, total: 2e12, freeNodes: 1e6, totalNodes: 2e6 }))
    ),
    Layer.provideMerge(CacheConfig.layer({ directory, chunkSize: CHUNK, maxSize: MAX_SIZE, minFree: 0, memory: 0 })),
    Layer.fresh
  )

type Services = Layer.Success<ReturnType<typeof processOn>> | Layer.Success<typeof MemoryOrigin.layer>

const long = "q".repeat(7000)
const quotes = { "x-quotes": "\"".repeat(13_000) }

const put = Effect.fnUntraced(function*(path: string, headers: Record<string, string> = {}, size = 3) {
  const origin = yield* MemoryOrigin.MemoryOrigin
  const url = `http://origin.test/${path}`
  const fields = { "cache-control": "max-age=3600", ...headers }
  origin.files.set(url, { bytes: new Uint8Array(size), etag: "\"1\"", headers: fields })
  return url
})

// It waits for a while only, and a disk may be slower.
const settled = Effect.repeat(Manifests.use((_) => _.settled), { times: 30 })

const written = Effect.andThen(ChunkWriter.use((_) => _.idle), settled)

/** Has so many files viewed, one after another, and returns how much the cache has taken at most. */
const fill = Effect.fnUntraced(function*(
  count: number,
  directory: string,
  file: (i: number) => Effect.Effect<string, never, MemoryOrigin.MemoryOrigin>
) {
  let most = 0
  for (let i = 0; i < count; i++) {
    yield* view(yield* file(i))
    if (i % 20 === 19) {
      yield* written
      most = Math.max(most, du(directory))
    }
  }
  return most
})

const AFTER_RESTART = "what a process before has written"

const kinds: ReadonlyArray<
  readonly [string, (directory: string) => Effect.Effect<number, unknown, Services>]
> = [
  ["tiny files", (directory) => fill(100, directory, (i) => put(`${i}`))],
  ["long URLs", (directory) => fill(80, directory, (i) => put(`${i}?${long}`))],
  [
    "long fields, which are longer when they are escaped",
    (directory) => fill(100, directory, (i) => put(`${i}`, quotes))
  ],
  [
    "pinned files",
    (directory) =>
      Effect.gen(function*() {
        for (let i = 0; i < 10; i++) {
          const url = yield* put(`pinned/${i}`, quotes)
          yield* view(url)
          yield* written
          yield* (yield* Purger).pin(url, true)
        }
        return yield* fill(40, directory, (i) => put(`${i}`, quotes))
      })
  ],
  [
    "manifests that grow when the origin confirms a file",
    (directory) =>
      Effect.gen(function*() {
        const media = yield* MediaStream
        const most = yield* fill(70, directory, (i) => put(`${i}`))
        for (let i = 0; i < 70; i++) {
          const url = yield* put(`${i}`, { ...quotes, "cache-control": "max-age=5" })
          yield* Effect.scoped(media.open({ resource: makeResource(url), directives: noCache }))
        }
        yield* written
        return Math.max(most, du(directory))
      })
  ],
  [
    AFTER_RESTART,
    (directory) =>
      Effect.gen(function*() {
        yield* (yield* IndexScan).loaded
        return yield* fill(60, directory, (i) => put(`${i}?${long}`))
      })
  ],
  ["long files", (directory) => fill(20, directory, (i) => put(`${i}`, {}, 5 * CHUNK))]
]

describe("--max-size", () => {
  it.live.each(kinds)("is not exceeded in blocks on disk by %s", ([name, use]) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      if (name === AFTER_RESTART) {
        yield* Effect.provide(fill(60, directory, (i) => put(`before/${i}`, quotes)), processOn(directory))
      }
      yield* Effect.gen(function*() {
        const most = yield* use(directory)
        const index = yield* CacheIndex
        assert.isAtMost(most, MAX_SIZE)
        assert.isAtLeast(index.bytes(), MAX_SIZE / 2)
        assert.isAtMost(du(directory), index.bytes() + 16 * 1024)
      }).pipe(Effect.provide(processOn(directory)))
    }).pipe(Effect.provide(MemoryOrigin.layer)))
})
