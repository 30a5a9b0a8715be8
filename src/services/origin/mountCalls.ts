import { Effect, Fiber, Semaphore } from "effect"
import { poolSize } from "../../effects/poolSize.ts"

/** The calls to one mount that run or wait. It exists while there are any. */
interface Mount {
  readonly permits: Semaphore.Semaphore
  users: number
}

/** Limits the calls to the file systems of origins. */
export interface MountCalls {
  /**
   * Runs `call` when there is room for it: calls to the file system `mount`, one after another. Interruption ends the wait; a call that has
   * begun runs to its end.
   */
  readonly run: <A, E>(mount: string, call: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

/**
 * Makes a limiter. A mount that hangs holds a thread for each call, as a disk does (see `DiskLimiter`), so all mounts together get a
 * quarter of the pool, and each one gets half of that. The cache and name resolution have the rest.
 */
export const makeMountCalls = Effect.sync((): MountCalls => {
  const all = Math.max(1, Math.floor(poolSize() / 4))
  const each = Math.max(1, Math.floor(all / 2))
  const permits = Semaphore.makeUnsafe(all)
  const mounts = new Map<string, Mount>()

  const enter = (name: string): Mount => {
    const mount = mounts.get(name) ?? { permits: Semaphore.makeUnsafe(each), users: 0 }
    mount.users += 1
    mounts.set(name, mount)
    return mount
  }

  const leave = (name: string, mount: Mount): void => {
    mount.users -= 1
    if (mount.users === 0) mounts.delete(name)
  }

  return {
    run: (name, call) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const mount = enter(name)
          const left = Effect.sync(() => leave(name, mount))
          const begun = Effect.ensuring(
            call,
            Effect.andThen(permits.release(1), Effect.andThen(mount.permits.release(1), left))
          )
          return restore(mount.permits.take(1)).pipe(
            Effect.onInterrupt(() => left),
            Effect.andThen(
              restore(permits.take(1)).pipe(Effect.onInterrupt(() => Effect.andThen(mount.permits.release(1), left)))
            ),
            Effect.andThen(Effect.forkDetach(begun)),
            Effect.flatMap((fiber) => restore(Fiber.join(fiber)))
          )
        })
      )
  }
})
