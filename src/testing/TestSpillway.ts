import { NodePath } from "@effect/platform-node"
import { Effect, type FileSystem, Layer, type Path } from "effect"
import * as Options from "../embed/options.ts"
import { ChunkWriter } from "../services/cache/ChunkWriter.ts"
import { ChunkStore } from "../services/disk/ChunkStore.ts"
import { DirectoryLock } from "../services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../services/disk/DiskMonitor.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"
import { facade, layerNoDeps, type Running, Spillway } from "../spillway.ts"
import * as FaultyFileSystem from "./FaultyFileSystem.ts"
import * as MemoryFileSystem from "./MemoryFileSystem.ts"
import * as MemoryOrigin from "./MemoryOrigin.ts"

const Files = Layer.mergeAll(
  FaultyFileSystem.layer,
  // Its disk alone: the file system is the faulty one.
  Layer.effect(MemoryFileSystem.MemoryDisk, MemoryFileSystem.MemoryDisk)
).pipe(Layer.provide(MemoryFileSystem.layer), Layer.provideMerge(NodePath.layer))

const Monitor = Layer.unwrap(
  Effect.map(MemoryFileSystem.MemoryDisk, (disk) => DiskMonitor.layerUsage(Effect.sync(disk.usage)))
)

const defaults: Options.SpillwayOptions = { directory: "/cache", chunkSize: "64KiB", minFree: 0, memory: 0 }

/**
 * Waits until all background writes to the disk are done.
 *
 * @since 0.1.0
 * @category testing
 */
export const idle: Effect.Effect<void, never, ChunkWriter> = Effect.flatMap(ChunkWriter, ({ idle }) => idle)

/**
 * `Spillway.layer` with a disk and origins in memory, for tests of an application. `MemoryOrigin` is the origin of every URL,
 * `MemoryDisk` is the disk, and `Faults` makes the disk fail. By default chunks have 64 KiB, no chunk is cached in memory, and the
 * cache may use the whole disk. Runs under `TestClock`. Options that can't be used are a defect.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Spillway } from "spillway"
 * import { MemoryOrigin, TestSpillway } from "spillway/testing"
 *
 * const test = Effect.gen(function*() {
 *   const { files } = yield* MemoryOrigin.MemoryOrigin
 *   files.set("https://media.example.org/a", { bytes: new Uint8Array(1000), etag: "\"1\"" })
 *   const { open } = yield* Spillway
 *   const { stream } = yield* open("https://media.example.org/a")
 *   return yield* Stream.mkUint8Array(stream)
 * }).pipe(Effect.scoped, Effect.provide(TestSpillway.layer()))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options.SpillwayOptions = {}
): Layer.Layer<
  | Spillway
  | Running
  | ChunkStore
  | ChunkWriter
  | FaultyFileSystem.Faults
  | FileSystem.FileSystem
  | MemoryFileSystem.MemoryDisk
  | MemoryOrigin.MemoryOrigin
  | Path.Path
> =>
  Layer.provideMerge(facade(Spillway), layerNoDeps).pipe(
    Layer.provideMerge(ChunkStore.layer),
    Layer.provideMerge(Monitor),
    Layer.provideMerge(Files),
    Layer.provideMerge(MemoryOrigin.layer),
    Layer.provide(Layer.mergeAll(DirectoryLock.layerNone, DiskLimiter.layer, OriginResolver.layer)),
    Layer.provide(
      Layer.orDie(Options.layer({ ...defaults, ...options }))
    )
  )
