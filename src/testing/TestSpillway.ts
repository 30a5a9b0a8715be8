import { NodePath } from "@effect/platform-node"
import { Effect, type FileSystem, Layer, type Path } from "effect"
import {
  CacheConfig,
  type CacheOptions,
  ChunkStore,
  DirectoryLock,
  DiskLimiter,
  DiskMonitor,
  OriginConfig,
  type OriginOptions,
  OriginResolver,
  Spillway
} from "../index.ts"
import * as FaultyFileSystem from "./FaultyFileSystem.ts"
import * as MemoryFileSystem from "./MemoryFileSystem.ts"
import * as MemoryOrigin from "./MemoryOrigin.ts"

/** The options of the cache, and of its origins. */
export interface TestOptions {
  readonly cache?: Partial<CacheOptions>
  readonly origin?: Partial<OriginOptions>
}

const Files = Layer.mergeAll(
  FaultyFileSystem.layer,
  // Its disk alone: the file system is the faulty one.
  Layer.effect(MemoryFileSystem.MemoryDisk, MemoryFileSystem.MemoryDisk)
).pipe(Layer.provide(MemoryFileSystem.layer), Layer.provideMerge(NodePath.layer))

const Monitor = Layer.unwrap(
  Effect.map(MemoryFileSystem.MemoryDisk, (disk) => DiskMonitor.layerTest(Effect.sync(disk.usage)))
)

/**
 * All that `Spillway.layer` gives, over a disk and origins in memory, for tests of an application that has `Spillway` in it. The
 * origin of every URL is `MemoryOrigin`; `MemoryDisk` is the disk, and `Faults` has it fail. Chunks are of 64 KiB, memory keeps
 * none of them, and the whole disk may be used, unless the options say otherwise. Runs under `TestClock`.
 */
export const layer = (
  { cache, origin }: TestOptions = {}
): Layer.Layer<
  | Layer.Success<typeof Spillway.layerNoDeps>
  | ChunkStore
  | FaultyFileSystem.Faults
  | FileSystem.FileSystem
  | MemoryFileSystem.MemoryDisk
  | MemoryOrigin.MemoryOrigin
  | Path.Path
> =>
  Spillway.layerNoDeps.pipe(
    Layer.provideMerge(ChunkStore.layer),
    Layer.provideMerge(Monitor),
    Layer.provideMerge(Files),
    Layer.provideMerge(MemoryOrigin.layer),
    Layer.provide(Layer.mergeAll(DirectoryLock.layerNone, DiskLimiter.layer, OriginResolver.layer)),
    Layer.provide(
      Layer.merge(
        CacheConfig.layer({ directory: "/cache", chunkSize: 64 * 1024, minFree: 0, memory: 0, ...cache }),
        OriginConfig.layer(origin)
      )
    )
  )
