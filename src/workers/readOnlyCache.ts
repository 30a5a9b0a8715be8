import { Effect, FileSystem, Layer, Option, Stream } from "effect"
import { fromPlatformError, PermissionDenied } from "../domain/CacheError.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { CacheLock } from "../services/disk/CacheLock.ts"
import { ChunkStore } from "../services/disk/ChunkStore.ts"
import { DiskGate } from "../services/disk/DiskGate.ts"

/**
 * The cache of another process, which alone writes to it. To everybody else here it is a cache that may not be written to:
 * what is there is read, and the rest passes it.
 */

const denied = (operation: string, path: string) =>
  Effect.fail(new PermissionDenied({ errno: "EROFS", operation, path }))

/** Chunks are read, and nothing is written: what there is, the owner tells. It is told in turn of uses. */
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

/** The owner has it. The directory is looked at, so that a disk that hangs or fails is told from one that may only be read. */
export const layerLock: Layer.Layer<CacheLock, never, CacheConfig | DiskGate | FileSystem.FileSystem> = Layer.effect(
  CacheLock,
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const gate = yield* DiskGate
    const { directory } = yield* CacheConfig
    const look = Effect.mapError(fs.stat(directory), fromPlatformError("stat", directory))
    return CacheLock.of({
      acquire: Effect.andThen(gate.pass(look), denied("lock", directory)),
      takes: Stream.succeed(0)
    })
  })
)
