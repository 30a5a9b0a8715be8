import { Effect, Fiber, type FileSystem, Layer, type Path } from "effect"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { DirectoryLock } from "../services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"
import { PROBE_DEADLINE } from "../services/disk/diskProbe.ts"
import { StartupError } from "./StartupError.ts"

/**
 * Takes the lock of the cache directory, and fails if another process has it. Provide this to the services, so that they start
 * afterwards: otherwise they log an outage of the cache before the program ends. All other faults of the disk are left to the services,
 * which serve from the origin.
 */
export const layer: Layer.Layer<never, StartupError, CacheConfig | FileSystem.FileSystem | Path.Path> = Layer
  .effectDiscard(
    Effect.gen(function*() {
      const { directory } = yield* CacheConfig
      const { acquire } = yield* DirectoryLock
      const message = `cache directory ${directory} is in use by another process; choose another one with --cache-dir`
      const taking = yield* acquire.pipe(
        Effect.catchIf(({ errno }) => errno !== "LOCKED", () => Effect.void),
        Effect.mapError(() => new StartupError({ message })),
        Effect.forkScoped
      )
      // If the disk hangs, this continues in the background.
      yield* Effect.timeoutOption(Fiber.join(taking), PROBE_DEADLINE)
    })
  ).pipe(Layer.provide(Layer.provide(DirectoryLock.layer, DiskLimiter.layer)))
