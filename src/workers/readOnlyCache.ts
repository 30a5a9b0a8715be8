import { Effect, FileSystem, Layer, Option, Stream } from "effect"
import { fromPlatformError, PermissionDenied } from "../domain/CacheError.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { ChunkStore } from "../services/disk/ChunkStore.ts"
import { DirectoryLock } from "../services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"

/**
 * The services of a cache that another process owns. They read it, and fail all writes like a read-only disk.
 */

const denied = (operation: string, path: string) =>
  Effect.fail(new PermissionDenied({ errno: "EROFS", operation, path }))

/** A store that reads chunks and writes nothing. The owner says what there is, and `onUse` reports uses to it. */
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
        writeCompact: refuse("write"),
        remove: refuse("unlink"),
        // The owner writes manifests.
        writeManifest: () => Effect.void,
        revokeManifest: () => Effect.void,
        // The owner sends its bans.
        readBans: Effect.succeedNone,
        writeBans: () => Effect.void,
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

/** A lock that the owner holds. `acquire` reads the directory, to distinguish a disk that hangs or fails from a read-only one. */
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
