import { Context, type Duration, Effect, type Scope } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"

/** How often the store records which chunks were used. */
export const TouchInterval = Context.Reference<Duration.Input>("spillway/services/cache/touches/TouchInterval", {
  defaultValue: () => "1 minute"
})

/** How many chunks are recorded at a time. The order of others is lost when the process ends. */
const TOUCHES = 10_000

/**
 * Records used chunks in the store now and then, so that the order of use survives a restart, and their resources with `noteUse`. Chunks
 * have numbers; `keyOf` is the key of one, or `undefined` if it was removed. Returns the function that marks a chunk as used.
 */
export const make = Effect.fnUntraced(function*(
  noteUse: (resource: string, at: number) => void,
  keyOf: (chunk: number) => ChunkKey | undefined
): Effect.fn.Return<(chunk: number) => void, never, DiskBreaker | ChunkStore | Scope.Scope> {
  const breaker = yield* DiskBreaker
  const store = yield* ChunkStore
  let used = new Set<number>()
  yield* Effect.sleep(yield* TouchInterval).pipe(
    Effect.andThen(Effect.clockWith((clock) => {
      // The number of a chunk that was removed may be that of another one by now, which was written lately.
      const keys = Array.from(used, keyOf).filter((key) => key !== undefined)
      used = new Set()
      for (const { resource } of keys) noteUse(resource, clock.currentTimeMillisUnsafe())
      return breaker.readable()
        ? Effect.forEach(keys, (key) => Effect.ignore(store.touch(key)), { discard: true })
        : Effect.void
    })),
    keepRunning("CacheIndex")
  )
  return (chunk) => {
    if (used.size < TOUCHES) used.add(chunk)
  }
})
