import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { Context, Effect, FileSystem, Layer, Ref, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import type { BanTarget } from "../../src/domain/BanList.ts"
import type { DiskUsage } from "../../src/domain/DiskStatus.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import type { ByteRange, RangeSpec } from "../../src/domain/rfc/ByteRange.ts"
import { makeRoute } from "../../src/domain/Route.ts"
import { Proxy } from "../../src/http/proxy/Proxy.ts"
import { CacheConfig, type CacheOptions, defaults } from "../../src/services/config/CacheConfig.ts"
import { OriginConfig } from "../../src/services/config/OriginConfig.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { DirectoryLock } from "../../src/services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../../src/services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../../src/services/disk/DiskMonitor.ts"
import { WriterThread } from "../../src/services/disk/WriterThread.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import { Purger } from "../../src/services/operate/Purger.ts"
import { Sweeper } from "../../src/services/operate/Sweeper.ts"
import { OriginResolver } from "../../src/services/origin/OriginResolver.ts"
import { layerNoDeps } from "../../src/spillway.ts"
import * as FaultyFileSystem from "../../src/testing/FaultyFileSystem.ts"
import * as MemoryFileSystem from "../../src/testing/MemoryFileSystem.ts"
import * as MemoryOrigin from "../../src/testing/MemoryOrigin.ts"
import { ticking } from "./ticking.ts"

export { ticking }

/** The disk's free and total space, as `DiskMonitor` sees it. */
export class Knob extends Context.Service<Knob, Ref.Ref<DiskUsage>>()("spillway/test/support/stack/Knob") {
  static readonly layer = Layer.effect(
    Knob,
    Ref.make<DiskUsage>({ free: 1e12, total: 2e12, freeNodes: 1e6, totalNodes: 2e6 })
  )
}

/** Small enough that a test's file has many chunks. */
export const CHUNK = 64 * 1024

const Monitor = Layer.unwrap(Effect.map(Knob, (knob) => DiskMonitor.layerUsage(Ref.get(knob)))).pipe(
  Layer.provideMerge(Knob.layer)
)

const RealFiles = Layer.merge(NodeFileSystem.layer, NodePath.layer)
const FaultyFiles = FaultyFileSystem.layer.pipe(
  // Its disk alone: the file system is the faulty one.
  Layer.merge(Layer.effect(MemoryFileSystem.MemoryDisk, MemoryFileSystem.MemoryDisk)),
  Layer.provide(MemoryFileSystem.layer),
  Layer.provideMerge(NodePath.layer)
)

const RealDisk = Layer.provideMerge(FaultyFileSystem.layer, RealFiles)

/**
 * What chunks are kept in: a map, the real file system, the same with a thread that writes, or a file system in memory whose faults are
 * planned. Only with the real one does anything take real time.
 */
export const stores = {
  memory: ChunkStore.layerMemory.pipe(Layer.provideMerge(FaultyFiles)),
  real: Layer.provideMerge(ChunkStore.layer, RealDisk),
  thread: ChunkStore.layer.pipe(Layer.provideMerge(RealDisk), Layer.provide(WriterThread.layer)),
  faulty: ChunkStore.layer.pipe(Layer.provideMerge(FaultyFiles))
}

const realDirectory = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => fs.makeTempDirectoryScoped({ prefix: "spillway-test-" })
)

const directories = {
  memory: Effect.succeed("/cache"),
  real: realDirectory,
  thread: realDirectory,
  faulty: Effect.succeed("/cache")
}

/** The origin that paths of requests to `Proxy` lead to. */
export const ORIGIN = "http://origin.test"

const Edges = Layer.provideMerge(
  OriginResolver.layer,
  OriginConfig.layer({
    origins: { routes: [makeRoute({ _tag: "All" }, new URL(ORIGIN))], urlHosts: [], allowPrivate: false }
  })
)

const config = (store: keyof typeof stores, options: Partial<CacheOptions>) =>
  Layer.effect(
    CacheConfig,
    Effect.map(directories[store], (directory) => ({
      ...defaults,
      directory,
      chunkSize: CHUNK,
      maxSize: 1e9,
      minFree: 0,
      memory: 0,
      ...options
    }))
  ).pipe(Layer.provide(NodeFileSystem.layer), Layer.orDie)

/** Everything, over an origin in memory and a disk of a test's choice; no memory tier unless `options` has one. */
export const stack = (store: keyof typeof stores, options: Partial<CacheOptions> = {}) =>
  layerNoDeps.pipe(
    Layer.provideMerge(stores[store]),
    Layer.provideMerge(DirectoryLock.layerNone),
    Layer.provide(Layer.merge(DiskLimiter.layer, Edges)),
    Layer.provideMerge(Monitor),
    Layer.provideMerge(MemoryOrigin.layer),
    Layer.provideMerge(config(store, options))
  )

/** The same over another store. */
export const stackOver = (store: Layer.Layer<ChunkStore>) =>
  layerNoDeps.pipe(
    Layer.provideMerge(store),
    Layer.provideMerge(DirectoryLock.layerNone),
    Layer.provide(Edges),
    Layer.provideMerge(Monitor),
    Layer.provideMerge(MemoryOrigin.layer),
    Layer.provideMerge(config("memory", {}))
  )

/** The same over a disk and an origin that outlive it, to see what a restart finds. */
export const restartable = (options: Partial<CacheOptions> = {}, lock = DirectoryLock.layerNone) =>
  layerNoDeps.pipe(
    Layer.provideMerge(ChunkStore.layer),
    Layer.provideMerge(lock),
    Layer.provide(Layer.merge(DiskLimiter.layer, Edges)),
    Layer.provideMerge(Monitor),
    Layer.provideMerge(config("faulty", options))
  )

/** The disk and the origin for `restartable`. */
export const World = Layer.mergeAll(FaultyFiles, MemoryOrigin.layer)

/** What a viewer gets of `url`: the bytes, and what the response said of them. */
export const view = Effect.fnUntraced(function*(url: string, range?: RangeSpec) {
  const media = yield* MediaStream
  const opened = yield* media.open({ resource: makeResource(url), ranges: range && [range] })
  if (opened._tag !== "Media") return yield* Effect.die(`unexpected ${opened._tag}`)
  const { status } = opened.entry.representation
  if (status !== undefined) return yield* Effect.die(`unexpected status ${status}`)
  const [part] = opened.parts
  const body = part === undefined ? new Uint8Array() : yield* part.bytes
  const bytes = body instanceof Uint8Array ? body : yield* Stream.mkUint8Array(body)
  return { bytes, status: opened.status, range: part?.range }
}, Effect.scoped)

/** What a viewer gets who requests `path` from `Proxy`: the status, and all bytes of the body. */
export const get = Effect.fnUntraced(function*(path: string, headers: Record<string, string> = {}) {
  const proxy = yield* Proxy
  const request = HttpServerRequest.fromWeb(new Request(`http://spillway${path}`, { headers }))
  const { response } = yield* Effect.provideService(proxy.handler, HttpServerRequest.HttpServerRequest, request)
  const { body, status } = response
  if (body._tag === "Stream") return { status, bytes: yield* Stream.mkUint8Array(body.stream) }
  const isWhole = body._tag === "Uint8Array" || body._tag === "Raw"
  return { status, bytes: isWhole ? body.body as Uint8Array : new Uint8Array() }
}, Effect.scoped)

/** A range as a viewer asks for it. */
export const specOf = ({ end, start }: ByteRange): RangeSpec => ({ _tag: "From", start, last: end - 1 })

/** Purges, and waits until nothing is left. Returns how many resources were removed, and their bytes on disk. */
export const purge = (target: BanTarget) =>
  ticking(Effect.gen(function*() {
    const sweeper = yield* Sweeper
    const ban = yield* (yield* Purger).purge(target)
    yield* sweeper.swept(ban)
    const { bytes, resources } = sweeper.progress().removals.find((one) => one.ban.at === ban.at)!
    return { resources, bytes }
  }))

export const EVERYTHING: BanTarget = { _tag: "Prefix", prefix: "" }
