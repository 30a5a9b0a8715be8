import { Effect, FileSystem, Layer, Option, Stream } from "effect"
import { fromPlatformError, PermissionDenied } from "../domain/CacheError.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { ChunkStore } from "../services/disk/ChunkStore.ts"
import { DirectoryLock } from "../services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"

/**
 * The cache of another process, which alone writes to it. To everybody else here it is a cache that may not be written to:
 * what is there is read, and the rest passes it.
 */

const denied = (operation: string, path: string) =>
  Effect.fail(new PermissionDenied({ errno: "EROFS", operation, path }))

/** Chunks are read, and nothing is written: the owner reports what there is, and gets the uses in turn. */
export const layerStore = (
  onUse: (key: ChunkKey) => void
): Layer.Layer<ChunkStore, never, ChunkStore | CacheConfig> =>
  Layer.effect(
    ChunkStore,
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const { directory } = yield* CacheConfig
      const refuse = (operation: string) => () => denied(operation, directory)
      return ChunkStore.of({
        ...store,
        write: refuse("write"),
        remove: refuse("unlink"),
        // The owner sees to manifests.
        writeManifest: () => Effect.void,
        revokeManifest: () => Effect.void,
        readRevokedTrees: Effect.succeedNone,
        writeRevokedTrees: () => Effect.void,
        removeResource: refuse("unlink"),
        pin: refuse("write"),
        probe: refuse("write"),
        readManifest: () => Effect.succeed(Option.none()),
        readRevoked: () => Effect.succeed(Option.none()),
        resources: () => Stream.empty,
        touch: (key) => Effect.sync(() => onUse(key))
      })
    })
  )

/** The owner has it. The directory is checked, so that a disk that hangs or fails differs from one that may only be read. */
export const layerLock: Layer.Layer<DirectoryLock, never, CacheConfig | DiskLimiter | FileSystem.FileSystem> = Layer
  .effect(
    DirectoryLock,
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const limiter = yield* DiskLimiter
      const { directory } = yield* CacheConfig
      const look = Effect.mapError(fs.stat(directory), fromPlatformError("stat", directory))
      return DirectoryLock.of({
        acquire: Effect.andThen(limiter.pass(look), denied("lock", directory)),
        takes: Stream.succeed(0)
      })
    })
  )
