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

/** A chunk whose uses are recorded. */
export interface Touched {
  readonly key: ChunkKey
  /** Whether it was used since the last record. */
  isUsed: boolean
}

/**
 * Records used chunks in the store now and then, so that the order of use survives a restart, and their resources with `noteUse`.
 * Returns the function that marks a chunk as used.
 */
export const make = Effect.fnUntraced(function*(
  noteUse: (resource: string, at: number) => void
): Effect.fn.Return<(chunk: Touched) => void, never, DiskBreaker | ChunkStore | Scope.Scope> {
  const breaker = yield* DiskBreaker
  const store = yield* ChunkStore
  let used: Array<Touched> = []
  yield* Effect.sleep(yield* TouchInterval).pipe(
    Effect.andThen(Effect.clockWith((clock) => {
      const keys = used.map((chunk) => {
        chunk.isUsed = false
        return chunk.key
      })
      used = []
      for (const { resource } of keys) noteUse(resource, clock.currentTimeMillisUnsafe())
      return breaker.readable()
        ? Effect.forEach(keys, (key) => Effect.ignore(store.touch(key)), { discard: true })
        : Effect.void
    })),
    keepRunning("CacheIndex")
  )
  return (chunk) => {
    if (chunk.isUsed || used.length >= TOUCHES) return
    chunk.isUsed = true
    used.push(chunk)
  }
})
