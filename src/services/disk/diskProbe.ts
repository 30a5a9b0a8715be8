import { Effect, Fiber } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { bytesOnDisk, ChunkStore } from "./ChunkStore.ts"
import { DirectoryLock } from "./DirectoryLock.ts"
import { DiskMonitor } from "./DiskMonitor.ts"

/** How many bytes a probe writes. On a full disk it writes a chunk instead. */
const PROBE_BYTES = 8

/** How long, in milliseconds, the disk may do nothing during a probe before it counts as hanging. */
export const PROBE_DEADLINE = 1000

/** How long a probe may take although other calls end: on a frozen disk, reads continue and writes hang. */
const FROZEN_DEADLINE = "2 seconds"

/** The error of a probe of `directory` that hangs. */
export const timeout = (directory: string): IoError =>
  new IoError({ errno: "TIMEOUT", operation: "probe", path: directory })

/**
 * Finds out whether the cache can be used: takes the lock, checks that a chunk fits, and writes, reads and removes a file. `isFull`
 * says that the disk was full before.
 *
 * The function returned makes a probe, or joins the one that runs: on a disk that hangs, only one probe hangs. The probe fails with
 * what `unmet` returns, and with `IoError` and the errno `TIMEOUT` if the disk hangs.
 */
export const make = Effect.fnUntraced(function*(isFull: () => boolean) {
  const scope = yield* Effect.scope
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const lock = yield* DirectoryLock
  const { chunkSize, directory } = yield* CacheConfig

  // The first process that finds the directory writable takes the lock as well. Free space alone proves little: a few bytes may fit
  // where a chunk doesn't, and a quota doesn't show in it.
  const probe = (unmet: () => CacheError | undefined) =>
    Effect.scoped(lock.acquire.pipe(
      Effect.andThen(Effect.suspend(() => {
        const failure = unmet()
        return failure === undefined ? Effect.void : Effect.fail(failure)
      })),
      Effect.andThen(monitor.reserve(bytesOnDisk(chunkSize))),
      Effect.andThen(Effect.suspend(() => store.probe(isFull() ? chunkSize : PROBE_BYTES)))
    ))

  const hangs = Effect.andThen(
    Effect.raceFirst(store.stalled(PROBE_DEADLINE), Effect.sleep(FROZEN_DEADLINE)),
    Effect.suspend(() => Effect.fail(timeout(directory)))
  )

  let running: Fiber.Fiber<void, CacheError> | undefined
  return Effect.fnUntraced(function*(unmet: () => CacheError | undefined) {
    const fiber = running ??= yield* Effect.forkIn(
      Effect.ensuring(probe(unmet), Effect.sync(() => running = undefined)),
      scope
    )
    yield* Effect.raceFirst(Fiber.join(fiber), hangs)
  })
})
