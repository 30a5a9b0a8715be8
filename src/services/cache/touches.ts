import { Context, type Duration, Effect, type Scope } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import type { ChunkStore } from "../disk/ChunkStore.ts"
import type { DiskBreaker } from "../disk/DiskBreaker.ts"

/** How often the store records which chunks were used. */
export const TouchInterval = Context.Reference<Duration.Input>("spillway/services/cache/touches/TouchInterval", {
  defaultValue: () => "1 minute"
})

/** How many chunks it records at a time; the order of others is lost at the end of the process. */
const TOUCHES = 10_000

/** A chunk that may be used. */
export interface Touched {
  readonly key: ChunkKey
  /** Whether it was used since the store last recorded it. */
  isUsed: boolean
}

/**
 * Tells the store now and then which chunks were used, so that the order of use survives a restart, and `noteUse` of which resources
 * they are. What is returned records a use.
 */
export const make = Effect.fnUntraced(function*(
  store: ChunkStore["Service"],
  breaker: DiskBreaker["Service"],
  noteUse: (resource: string, at: number) => void
): Effect.fn.Return<(chunk: Touched) => void, never, Scope.Scope> {
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
