import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { Context, Effect, FileSystem, Layer, Ref, Stream } from "effect"
import type { ByteRange, RangeSpec } from "../../src/domain/ByteRange.ts"
import type { DiskUsage } from "../../src/domain/DiskStatus.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { layerNoDeps } from "../../src/index.ts"
import { CacheConfig, type CacheOptions } from "../../src/services/CacheConfig.ts"
import { ChunkStore } from "../../src/services/ChunkStore.ts"
import { DiskMonitor } from "../../src/services/DiskMonitor.ts"
import { MediaStream } from "../../src/services/MediaStream.ts"
import * as FaultyFileSystem from "../../src/testing/FaultyFileSystem.ts"
import * as MemoryOrigin from "../../src/testing/MemoryOrigin.ts"

/** The disk's free and total space, as `DiskMonitor` sees it. */
export class Knob extends Context.Service<Knob, Ref.Ref<DiskUsage>>()("spillway/test/support/stack/Knob") {
  static readonly layer = Layer.effect(
    Knob,
    Ref.make<DiskUsage>({ free: 1e12, total: 2e12, freeNodes: 1e6, totalNodes: 2e6 })
  )
}

/** Small enough that a test's file has many chunks. */
export const CHUNK = 64 * 1024

const config = (options: Partial<CacheOptions>) =>
  Layer.effect(
    CacheConfig,
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped({ prefix: "spillway-test-" })
      return { directory, chunkSize: CHUNK, maxSize: 1e9, minFree: 0, memory: 0, ...options }
    })
  ).pipe(Layer.provide(NodeFileSystem.layer), Layer.orDie)

const Monitor = Layer.unwrap(Effect.map(Knob, DiskMonitor.layerTest)).pipe(Layer.provideMerge(Knob.layer))

const RealFiles = Layer.merge(NodeFileSystem.layer, NodePath.layer)
const FaultyFiles = FaultyFileSystem.layer.pipe(Layer.provide(NodeFileSystem.layer), Layer.provideMerge(NodePath.layer))

/** What chunks are kept in. Each comes with `Faults`, which does nothing to the first two. */
export const stores = {
  memory: ChunkStore.layerMemory.pipe(Layer.provideMerge(FaultyFiles)),
  real: ChunkStore.layer.pipe(Layer.provide(RealFiles), Layer.provideMerge(FaultyFiles)),
  faulty: ChunkStore.layer.pipe(Layer.provideMerge(FaultyFiles))
}

/** Everything, over an origin in memory and a disk of a test's choice; no memory tier unless `options` has one. */
export const stack = (store: keyof typeof stores, options: Partial<CacheOptions> = {}) =>
  layerNoDeps.pipe(
    Layer.provideMerge(stores[store]),
    Layer.provideMerge(Monitor),
    Layer.provideMerge(MemoryOrigin.layer),
    Layer.provideMerge(config(options))
  )

/** What a viewer gets of `url`: the bytes, and what the response said of them. */
export const view = Effect.fnUntraced(function*(url: string, range?: RangeSpec) {
  const media = yield* MediaStream
  const opened = yield* media.open({ resource: makeResource(url), range })
  if (opened._tag !== "Media") return yield* Effect.die(`unexpected ${opened._tag}`)
  const body = yield* opened.body
  const bytes = body instanceof Uint8Array ? body : yield* Stream.mkUint8Array(body)
  return { bytes, status: opened.status, range: opened.range }
}, Effect.scoped)

/** A range as a viewer asks for it. */
export const specOf = ({ end, start }: ByteRange): RangeSpec => ({ _tag: "From", start, last: end - 1 })
